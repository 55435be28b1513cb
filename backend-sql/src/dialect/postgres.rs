//! PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Column as _, ConnectOptions as _, Postgres, Row as _, TypeInfo as _};

use super::{Dialect, Fault, Notice, Settings};
use crate::connection::{Cell, Connection, connection};
use crate::statement::{Column, Kind, Lists, Slot, Value, Words};
use crate::statements::BEAT;

/// The parameters of a URL that the driver understands.
pub(super) const PARAMETERS: &[&str] =
    &["application_name", "options", "sslcert", "sslkey", "sslmode", "sslrootcert"];

#[derive(Debug)]
pub(super) struct PostgresDialect {
    pool: PgPool,
    channel: String,
}

impl PostgresDialect {
    pub(super) fn open(settings: &Settings) -> Result<Self, sqlx::Error> {
        // Every statement looks rows up by keys, whatever the values: planning each
        // anew takes longer than running it.
        let options: PgConnectOptions = settings.url.parse()?;
        // And the rows of a list are to be taken in the order of their keys, so that
        // no two statements wait for each other in a circle.
        // Compiling one would take longer than a thousand of them.
        let planner = [
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ];
        let mut options = options.options(planner);
        let schema = settings.schema.as_deref();
        if let Some(schema) = schema {
            let path = format!("\"{}\"", schema.replace('"', "\"\""));
            options = options.options([("search_path", path)]);
        }
        // Notifications know no schema: its name is in that of the channel.
        let channel = format!("portolan_{}", schema.unwrap_or("public"));
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(settings.timeout)
            .connect_lazy_with(options);
        Ok(Self { pool, channel })
    }
}

impl Words for PostgresDialect {
    fn placeholder(&self, number: usize) -> String {
        format!("${number}")
    }

    fn now(&self) -> Option<&'static str> {
        // Not now(): a transaction's clock stands still.
        Some("(extract(epoch from clock_timestamp()) * 1000000)::bigint")
    }

    fn lock(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn int(&self, placeholder: &str) -> String {
        format!("{placeholder}::bigint")
    }

    fn lists(&self) -> Lists {
        Lists::Arrays
    }

    fn rows(&self, placeholder: &str, columns: &[Column<'_>]) -> String {
        let column = |(place, column): (usize, &Column<'_>)| match column.kind {
            Kind::Int => format!("(e.v ->> {place})::bigint AS {}", column.name),
            Kind::Name | Kind::Text => format!("e.v ->> {place} AS {}", column.name),
        };
        let columns: Vec<_> = columns.iter().enumerate().map(column).collect();
        let columns = columns.join(", ");
        format!("(SELECT {columns} FROM json_array_elements({placeholder}::json) AS e(v))")
    }
}

#[async_trait]
impl Dialect for PostgresDialect {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn begin(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL READ COMMITTED"
    }

    async fn acquire(&self) -> Result<Box<dyn Connection>, sqlx::Error> {
        Ok(Box::new(self.pool.acquire().await?))
    }

    fn is_exhausted(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    fn definitions(&self) -> &'static str {
        include_str!("postgres.sql")
    }

    fn migration_lock(&self) -> Option<&'static str> {
        // Any number will do that nobody else uses: "portolan" in ASCII.
        Some("SELECT pg_advisory_xact_lock(8101820110279729518)")
    }

    fn channel(&self) -> Option<&str> {
        Some(&self.channel)
    }

    async fn notice(&self) -> Result<Option<Box<dyn Notice>>, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(&self.channel).await?;
        Ok(Some(Box::new(Listening(listener))))
    }

    fn beat(&self) -> &'static str {
        BEAT
    }

    fn beats_in_order(&self) -> Option<&'static str> {
        // Else a small table is read as it lies, and two statements that read it
        // in different ways wait for each other in a circle.
        Some("SET enable_seqscan = off")
    }

    async fn reason(&self) -> Option<sqlx::Error> {
        // The pool goes on trying while a server is full, and does not say so.
        self.pool.connect_options().connect().await.err()
    }

    fn fault(&self, code: &str) -> Fault {
        match code {
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => Fault::Conflict,
            "23505" => Fault::Taken,
            // insufficient_privilege
            "42501" => Fault::Forbidden,
            // invalid_authorization_specification and invalid_password
            "28000" | "28P01" => Fault::Unauthenticated,
            // too_many_connections
            "53300" => Fault::Crowded,
            // disk_full, and any other lack of means
            "53100" | "53000" | "53200" | "53400" => Fault::Full,
            // read_only_sql_transaction
            "25006" => Fault::ReadOnly,
            // undefined_table, undefined_column, invalid_schema_name, invalid_catalog_name
            "42P01" | "42703" | "3F000" | "3D000" => Fault::Missing,
            _ => Fault::Other,
        }
    }
}

/// A connection that hears notifications.
struct Listening(PgListener);

#[async_trait]
impl Notice for Listening {
    async fn heard(&mut self, at_most: Duration) -> Result<bool, sqlx::Error> {
        match tokio::time::timeout(at_most, self.0.try_recv()).await {
            // A lost connection is news too: something may have been said meanwhile.
            Ok(received) => received.map(|_| {
                while self.0.next_buffered().is_some() {} // One look answers all of them.
                true
            }),
            Err(_) => Ok(false),
        }
    }
}

connection!(Postgres, bind, cell);

fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    slot: Slot,
    values: &[Value],
) -> Query<'q, Postgres, PgArguments> {
    let value = match slot {
        Slot::Whole(place) | Slot::Entry(place, _) => &values[place],
        Slot::Now => return query, // The server has a clock of its own.
    };
    match value {
        Value::Int(number) => query.bind(*number),
        Value::Ints(numbers) => query.bind(numbers.clone()),
        Value::Text(text) | Value::Rows(text) => query.bind(text.clone()),
        Value::Texts(texts) => query.bind(texts.clone()),
    }
}

fn cell(row: &PgRow, place: usize) -> Cell {
    let read = || match row.columns()[place].type_info().name() {
        "INT8" => row.try_get::<Option<i64>, _>(place).map(|v| v.map(Cell::Int)),
        "INT4" => row.try_get::<Option<i32>, _>(place).map(|v| v.map(|n| Cell::Int(i64::from(n)))),
        "TEXT" | "VARCHAR" => row.try_get::<Option<String>, _>(place).map(|v| v.map(Cell::Text)),
        _ => Ok(Some(Cell::Other)),
    };
    read().map_or(Cell::Other, |cell| cell.unwrap_or(Cell::Null))
}
