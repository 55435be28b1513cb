//! What only the owner of a database does: making one, and spoiling one.

use std::sync::atomic::{AtomicU32, Ordering};

use conformance_tests::Absent;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, SqliteConnection};

use super::Kind;

/// A connection that may do everything.
pub(crate) enum Admin {
    MySql(MySqlConnection),
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Admin {
    pub(crate) async fn connect(kind: Kind, url: &str) -> Result<Self, Absent> {
        let connected = match kind {
            Kind::MySql => MySqlConnection::connect(url).await.map(Self::MySql),
            Kind::Postgres => PgConnection::connect(url).await.map(Self::Postgres),
        };
        connected.map_err(absent)
    }

    pub(crate) async fn file(file: &str) -> Result<Self, Absent> {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let connected = SqliteConnection::connect_with(&options).await;
        connected.map(Self::Sqlite).map_err(absent)
    }

    /// Runs statements.
    pub(crate) async fn run(&mut self, text: &str) -> Result<(), Absent> {
        let text = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
        let done = match self {
            Self::MySql(connection) => connection.execute(text).await.map(drop),
            Self::Postgres(connection) => connection.execute(text).await.map(drop),
            Self::Sqlite(connection) => connection.execute(text).await.map(drop),
        };
        done.map_err(absent)
    }

    /// One number.
    pub(crate) async fn number(&mut self, text: &str) -> Result<i64, Absent> {
        let text = AssertSqlSafe(text.to_owned());
        let found = match self {
            Self::MySql(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
            Self::Sqlite(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
        };
        found.map_err(absent)
    }

    /// One text.
    pub(crate) async fn text(&mut self, text: &str) -> Result<String, Absent> {
        let text = AssertSqlSafe(text.to_owned());
        let found = match self {
            Self::MySql(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
            Self::Sqlite(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
        };
        found.map_err(absent)
    }

    /// Makes a database of its own; its name.
    pub(crate) async fn create(&mut self) -> Result<String, Absent> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("portolan_test_{}_{number}", std::process::id());
        self.run(&format!("CREATE DATABASE {name}")).await?;
        Ok(name)
    }

    /// Rows as a foreign hand or a newer program writes them, next to those of
    /// the default namespace.
    pub(crate) async fn plant_junk(&mut self) -> Result<(), Absent> {
        let ns = "(SELECT id FROM portolan_namespaces WHERE name = 'default')";
        for (slot, id, format, record) in
            [(-1, "junk", 1, "{\"id\":"), (-2, "newer", 7, "{}"), (-3, "", 1, "null")]
        {
            self.run(&format!(
                "INSERT INTO portolan_instances (ns, id, format, record)
                 SELECT {ns}, '{id}', {format}, '{record}' FROM portolan_clock"
            ))
            .await?;
            self.run(&format!(
                "INSERT INTO portolan_leases
                     (slot, ns, id, epoch, ttl, ttd, beat_at, term, told)
                 SELECT {slot}, {ns}, '{id}', 1, 1000000, 1000000, 9000000000000000, 1, 0
                 FROM portolan_clock"
            ))
            .await?;
            // One that leads there, and one that leads nowhere.
            for offered in [id.to_owned(), format!("{id}x")] {
                self.run(&format!(
                    "INSERT INTO portolan_offers (ns, service, id)
                     SELECT {ns}, 'a', '{offered}' FROM portolan_clock"
                ))
                .await?;
            }
        }
        self.run(&format!(
            "INSERT INTO portolan_services (ns, name, owner, format, record)
             SELECT {ns}, 'junk', 'nobody', 1, 'junk' FROM portolan_clock"
        ))
        .await?;
        // Where the next entry of the history belongs.
        self.run(
            "INSERT INTO portolan_changes (ns, position, place, number, events, format, entries)
             SELECT n.id, n.position, 0, n.number + 1, n.events, 1, 'junk'
             FROM portolan_namespaces n WHERE n.name = 'default'",
        )
        .await
    }
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` wants it.
fn absent(error: sqlx::Error) -> Absent {
    Absent(format!("the database's owner failed: {error}"))
}
