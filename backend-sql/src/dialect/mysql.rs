//! MySQL 8 and MariaDB 10.6 or later.

use async_trait::async_trait;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::query::Query;
use sqlx::{Column as _, Executor as _, MySql, Row as _, TypeInfo as _};

use super::{Dialect, Fault, Settings};
use crate::connection::{Cell, Connection, connection};
use crate::statement::{Column, Kind, Lists, Slot, Value, Words};
use crate::statements::BEAT_ALONE;

/// The parameters of a URL that the driver understands.
pub(super) const PARAMETERS: &[&str] = &["ssl-ca", "ssl-cert", "ssl-key", "ssl-mode"];

/// Lists are padded to powers of two, so there are some texts of each statement.
const STATEMENTS: usize = 500;

#[derive(Debug)]
pub(super) struct MySqlDialect {
    pool: MySqlPool,
}

impl MySqlDialect {
    pub(super) fn open(settings: &Settings) -> Result<Self, sqlx::Error> {
        let options: MySqlConnectOptions = settings.url.parse()?;
        let options = options.statement_cache_capacity(STATEMENTS);
        let pool = MySqlPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(settings.timeout)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // The default keeps the snapshot of a transaction's first
                    // read and locks gaps; a writer here wants neither.
                    let level = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
                    connection.execute(level).await.map(drop)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}

impl Words for MySqlDialect {
    fn placeholder(&self, _: usize) -> String {
        "?".to_owned()
    }

    fn now(&self) -> Option<&'static str> {
        Some("TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))")
    }

    fn lock(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn int(&self, placeholder: &str) -> String {
        format!("CAST({placeholder} AS SIGNED)")
    }

    fn lists(&self) -> Lists {
        Lists::Entries
    }

    fn rows(&self, placeholder: &str, columns: &[Column<'_>]) -> String {
        let column = |(place, column): (usize, &Column<'_>)| {
            let kind = match column.kind {
                Kind::Int => "BIGINT",
                Kind::Name => "VARCHAR(255) CHARACTER SET utf8mb4",
                Kind::Text => "LONGTEXT CHARACTER SET utf8mb4",
            };
            format!("{} {kind} PATH '$[{place}]'", column.name)
        };
        let columns: Vec<_> = columns.iter().enumerate().map(column).collect();
        format!("JSON_TABLE({placeholder}, '$[*]' COLUMNS ({}))", columns.join(", "))
    }
}

#[async_trait]
impl Dialect for MySqlDialect {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn begin(&self) -> &'static str {
        "START TRANSACTION"
    }

    async fn acquire(&self) -> Result<Box<dyn Connection>, sqlx::Error> {
        Ok(Box::new(self.pool.acquire().await?))
    }

    fn is_exhausted(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    fn definitions(&self) -> &'static str {
        include_str!("mysql.sql")
    }

    fn migration_lock(&self) -> Option<&'static str> {
        Some("SELECT GET_LOCK('portolan', 10)")
    }

    fn migration_unlock(&self) -> Option<&'static str> {
        Some("SELECT RELEASE_LOCK('portolan')")
    }

    fn beat(&self) -> &'static str {
        BEAT_ALONE
    }

    fn fault(&self, code: &str) -> Fault {
        match code {
            // Deadlock, lock wait timeout, and MariaDB's "record has changed".
            "1213" | "1205" | "1020" => Fault::Conflict,
            "1062" => Fault::Taken,
            // Not allowed: database, table, column, command.
            "1044" | "1142" | "1143" | "1227" | "1370" => Fault::Forbidden,
            "1045" | "1698" => Fault::Unauthenticated,
            "1040" | "1203" | "1226" => Fault::Crowded,
            // Disk or table full, no memory.
            "1021" | "1114" | "1037" | "1041" => Fault::Full,
            "1290" | "1792" | "1836" => Fault::ReadOnly,
            "1146" | "1054" | "1049" => Fault::Missing,
            // Shutdown in progress, and a connection that was killed.
            "1053" | "1927" | "3169" | "1152" | "1317" => Fault::Unreachable,
            _ => Fault::Other,
        }
    }
}

connection!(MySql, bind, cell);

fn bind<'q>(
    query: Query<'q, MySql, MySqlArguments>,
    slot: Slot,
    values: &[Value],
) -> Query<'q, MySql, MySqlArguments> {
    let (place, entry) = match slot {
        Slot::Now => return query, // The server has a clock of its own.
        Slot::Whole(place) => (place, 0),
        Slot::Entry(place, entry) => (place, entry),
    };
    match &values[place] {
        Value::Int(number) => query.bind(*number),
        Value::Ints(numbers) => query.bind(numbers.get(entry).copied()),
        // JSON is text; names are keys, which are bytes there.
        Value::Rows(text) => query.bind(text.clone()),
        Value::Text(text) => query.bind(text.clone().into_bytes()),
        Value::Texts(texts) => {
            query.bind(texts.get(entry).cloned().unwrap_or_default().into_bytes())
        }
    }
}

fn cell(row: &MySqlRow, place: usize) -> Cell {
    let kind = row.columns()[place].type_info().name();
    let read = || match kind {
        "BIGINT" | "INT" | "SMALLINT" | "TINYINT" | "MEDIUMINT" => {
            row.try_get_unchecked::<Option<i64>, _>(place).map(|v| v.map(Cell::Int))
        }
        _ => row.try_get_unchecked::<Option<Vec<u8>>, _>(place).map(|bytes| {
            bytes.map(|bytes| String::from_utf8(bytes).map_or(Cell::Other, Cell::Text))
        }),
    };
    read().map_or(Cell::Other, |cell| cell.unwrap_or(Cell::Null))
}
