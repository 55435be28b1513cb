//! SQLite: a file that the processes of one machine share, or memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{Clock, Timestamp};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use super::{Dialect, Fault, Notice, Settings};
use crate::boot_clock;
use crate::connection::{Cell, Connection, Row, connection};
use crate::statement::{Column, Finished, Lists, Slot, Value, Words};
use crate::statements::BEAT_ALONE;

/// The parameters of a URL that are about SQLite alone.
pub(super) const PARAMETERS: &[&str] = &["synchronous"];

#[derive(Debug)]
pub(super) struct SqliteDialect {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl SqliteDialect {
    pub(super) fn open(settings: &Settings) -> Result<Self, sqlx::Error> {
        let synchronous = match settings.parameter("synchronous") {
            None | Some("full") => SqliteSynchronous::Full,
            Some("normal") => SqliteSynchronous::Normal,
            Some("off") => SqliteSynchronous::Off,
            Some(_) => {
                let rule = "synchronous must be full, normal or off";
                return Err(sqlx::Error::Configuration(rule.into()));
            }
        };
        let options = SqliteConnectOptions::new()
            .create_if_missing(true)
            .busy_timeout(settings.timeout)
            .synchronous(synchronous);
        let options = match &*settings.url {
            // One database for all connections of this handle, and no other.
            ":memory:" => options
                .filename(format!("/portolan-{:016x}", fastrand::u64(..)))
                .vfs("memdb")
                .journal_mode(SqliteJournalMode::Memory),
            file => options.filename(file).journal_mode(SqliteJournalMode::Wal),
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.connections)
            // What lives in memory lives as long as a connection does.
            .min_connections(u32::from(settings.is_in_memory()))
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(settings.timeout)
            .connect_lazy_with(options);
        let clock = settings.clock.clone().unwrap_or_else(|| Arc::new(boot_clock::BootClock));
        Ok(Self { pool, clock })
    }
}

impl Words for SqliteDialect {
    fn placeholder(&self, _: usize) -> String {
        "?".to_owned()
    }

    fn now(&self) -> Option<&'static str> {
        None // Its own clock is the wall's.
    }

    fn lock(&self) -> &'static str {
        "" // A writer is alone.
    }

    fn int(&self, placeholder: &str) -> String {
        placeholder.to_owned()
    }

    fn lists(&self) -> Lists {
        Lists::Json
    }

    fn rows(&self, placeholder: &str, columns: &[Column<'_>]) -> String {
        let column =
            |(place, column): (usize, &Column<'_>)| format!("value ->> {place} AS {}", column.name);
        let columns: Vec<_> = columns.iter().enumerate().map(column).collect();
        format!("(SELECT {} FROM json_each({placeholder}))", columns.join(", "))
    }
}

#[async_trait]
impl Dialect for SqliteDialect {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn begin(&self) -> &'static str {
        // A transaction that begins as a reader may find the file written to
        // when it wants to write, and cannot go on then.
        "BEGIN IMMEDIATE"
    }

    async fn acquire(&self) -> Result<Box<dyn Connection>, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        Ok(Box::new(Timed { connection, clock: Arc::clone(&self.clock) }))
    }

    fn is_exhausted(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    fn has_one_writer(&self) -> bool {
        true
    }

    fn boot(&self) -> Option<String> {
        Some(boot_clock::boot_id())
    }

    fn definitions(&self) -> &'static str {
        include_str!("sqlite.sql")
    }

    async fn notice(&self) -> Result<Option<Box<dyn Notice>>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let version = data_version(&mut connection).await?;
        Ok(Some(Box::new(Looking { connection, version })))
    }

    fn beat(&self) -> &'static str {
        BEAT_ALONE
    }

    fn fault(&self, code: &str) -> Fault {
        // Extended codes hold the primary one in their low byte.
        match code.parse::<u32>().map_or(0, |code| code & 0xff) {
            3 | 23 => Fault::Forbidden, // SQLITE_PERM, SQLITE_AUTH
            5 | 6 => Fault::Conflict,   // SQLITE_BUSY, SQLITE_LOCKED
            8 => Fault::ReadOnly,
            11 | 26 => Fault::Damaged, // SQLITE_CORRUPT, SQLITE_NOTADB
            13 => Fault::Full,
            14 => Fault::Unreachable, // SQLITE_CANTOPEN
            19 => Fault::Taken,       // SQLITE_CONSTRAINT
            10 => Fault::Unreachable, // SQLITE_IOERR
            _ => Fault::Other,
        }
    }
}

/// How often the file is looked at. A look costs some 20 µs.
const LOOK: Duration = Duration::from_millis(10);

/// A connection that sees whether others have written.
struct Looking {
    connection: sqlx::pool::PoolConnection<Sqlite>,
    version: i64,
}

async fn data_version(
    connection: &mut sqlx::pool::PoolConnection<Sqlite>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut **connection).await
}

#[async_trait]
impl Notice for Looking {
    async fn heard(&mut self, at_most: Duration) -> Result<bool, sqlx::Error> {
        let looks = at_most.as_millis() / LOOK.as_millis();
        for _ in 0..looks.max(1) {
            tokio::time::sleep(LOOK.min(at_most)).await;
            let version = data_version(&mut self.connection).await?;
            if std::mem::replace(&mut self.version, version) != version {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A connection that brings its clock along.
struct Timed {
    connection: sqlx::pool::PoolConnection<Sqlite>,
    clock: Arc<dyn Clock>,
}

impl Timed {
    /// The values, and after them the time.
    fn timed(&self, values: &[Value]) -> Vec<Value> {
        let micros = self.clock.now().since(Timestamp::ZERO).as_micros();
        let now = Value::Int(i64::try_from(micros).unwrap_or(i64::MAX));
        values.iter().cloned().chain([now]).collect()
    }
}

#[async_trait]
impl Connection for Timed {
    async fn rows(&mut self, text: Finished, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        let values = self.timed(values);
        Connection::rows(&mut self.connection, text, &values).await
    }

    async fn run(&mut self, text: Finished, values: &[Value]) -> Result<u64, sqlx::Error> {
        let values = self.timed(values);
        Connection::run(&mut self.connection, text, &values).await
    }

    async fn raw(&mut self, text: &str) -> Result<(), sqlx::Error> {
        Connection::raw(&mut self.connection, text).await
    }

    fn close(self: Box<Self>) {
        Connection::close(Box::new(self.connection));
    }
}

connection!(Sqlite, bind, cell);

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    slot: Slot,
    values: &[Value],
) -> Query<'q, Sqlite, SqliteArguments> {
    let value = match slot {
        Slot::Now => &values[values.len() - 1],
        Slot::Whole(place) | Slot::Entry(place, _) => &values[place],
    };
    match value {
        Value::Int(number) => query.bind(*number),
        Value::Text(text) | Value::Rows(text) => query.bind(text.clone()),
        Value::Texts(texts) => query.bind(json(texts)),
        Value::Ints(numbers) => query.bind(json(numbers)),
    }
}

fn json<T: serde::Serialize>(list: &[T]) -> String {
    // Texts and numbers only: there is nothing that could fail.
    serde_json::to_string(list).unwrap_or_default()
}

fn cell(row: &SqliteRow, place: usize) -> Cell {
    let Ok(value) = row.try_get_raw(place) else {
        return Cell::Other;
    };
    let kind = value.type_info();
    match kind.name() {
        _ if value.is_null() => Cell::Null,
        "INTEGER" => row.try_get_unchecked(place).map_or(Cell::Other, Cell::Int),
        "TEXT" => row.try_get_unchecked(place).map_or(Cell::Other, Cell::Text),
        _ => Cell::Other,
    }
}
