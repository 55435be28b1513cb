//! The same work in bare statements: no epochs, no expiry, no outcomes.

use sqlx::{Connection, Executor, MySqlConnection, PgConnection, SqliteConnection};

use super::Place;

/// A connection and a table of 10,000 rows like those of leases.
pub enum Floor {
    MySql(MySqlConnection),
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Floor {
    pub async fn open(place: &Place, ids: &[String]) -> Self {
        let mut floor = match place.name {
            "mariadb" => {
                Self::MySql(MySqlConnection::connect(&place.url).await.expect("it is there"))
            }
            "postgres" => {
                Self::Postgres(PgConnection::connect(&place.url).await.expect("it is there"))
            }
            _ => {
                let file = place.url.strip_prefix("sqlite:").expect("a file");
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(format!("{file}-floor"))
                    .create_if_missing(true)
                    .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                    .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
                Self::Sqlite(SqliteConnection::connect_with(&options).await.expect("a file"))
            }
        };
        let columns = match floor {
            Self::MySql(_) => "ns BIGINT, id VARBINARY(255), beat_at BIGINT, PRIMARY KEY (ns, id)",
            Self::Postgres(_) | Self::Sqlite(_) => {
                "ns BIGINT, id TEXT, beat_at BIGINT, PRIMARY KEY (ns, id)"
            }
        };
        let options = match floor {
            Self::Postgres(_) => " WITH (fillfactor = 50)",
            Self::Sqlite(_) => " WITHOUT ROWID",
            Self::MySql(_) => "",
        };
        floor.run("DROP TABLE IF EXISTS floor_leases").await;
        floor.run(&format!("CREATE TABLE floor_leases ({columns}){options}")).await;
        for ids in ids.chunks(1_000) {
            let rows: Vec<_> = ids.iter().map(|id| format!("(1, '{id}', 0)")).collect();
            let rows = rows.join(",");
            floor.run(&format!("INSERT INTO floor_leases (ns, id, beat_at) VALUES {rows}")).await;
        }
        floor
    }

    pub async fn run(&mut self, text: &str) {
        let text = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()));
        match self {
            Self::MySql(connection) => connection.execute(text).await.map(drop),
            Self::Postgres(connection) => connection.execute(text).await.map(drop),
            Self::Sqlite(connection) => connection.execute(text).await.map(drop),
        }
        .expect("the floor's statement works");
    }

    /// One statement for all of `ids`.
    pub async fn beat(&mut self, ids: &[String]) {
        let count = match self {
            Self::Postgres(connection) => {
                let text = "UPDATE floor_leases
                    SET beat_at = (extract(epoch from clock_timestamp()) * 1000000)::bigint
                    WHERE ns = 1 AND id = ANY($1)";
                sqlx::query(text).bind(ids).execute(connection).await.map(|r| r.rows_affected())
            }
            Self::Sqlite(connection) => {
                let text = "UPDATE floor_leases SET beat_at = ?
                    WHERE ns = 1 AND id IN (SELECT value FROM json_each(?))";
                let json = serde_json::to_string(ids).expect("texts");
                let query = sqlx::query(text).bind(1_i64).bind(json);
                query.execute(connection).await.map(|r| r.rows_affected())
            }
            Self::MySql(connection) => {
                let marks = vec!["?"; ids.len()].join(",");
                let text = format!(
                    "UPDATE floor_leases
                     SET beat_at = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
                     WHERE ns = 1 AND id IN ({marks})"
                );
                let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
                for id in ids {
                    query = query.bind(id.as_bytes());
                }
                query.execute(connection).await.map(|r| r.rows_affected())
            }
        };
        assert_eq!(count.expect("the floor's statement works"), ids.len() as u64);
    }

    /// How many transactions the server has committed, if it counts them.
    pub async fn commits(&mut self) -> Option<i64> {
        match self {
            Self::Postgres(connection) => {
                // A connection tells what it counted after ten idle seconds at last.
                tokio::time::sleep(std::time::Duration::from_secs(11)).await;
                let text = "SELECT xact_commit FROM pg_stat_database
                    WHERE datname = current_database()";
                sqlx::query_scalar(text).fetch_one(connection).await.ok()
            }
            Self::MySql(connection) => {
                let text = "SELECT CAST(VARIABLE_VALUE AS SIGNED)
                    FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'COM_COMMIT'";
                sqlx::query_scalar(text).fetch_one(connection).await.ok()
            }
            Self::Sqlite(_) => None,
        }
    }
}
