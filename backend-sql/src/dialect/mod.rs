//! What the databases do not have in common.
//!
//! A dialect knows words, connections and error codes. It decides nothing.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{Clock, Error, ErrorKind, Result};

use crate::connection::Connection;
use crate::fault::to_error;
use crate::statement::Words;

/// Where a database is and how it is talked to.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) scheme: Scheme,
    /// For the driver: a URL, or the name of a file.
    pub(crate) url: String,
    /// Parameters that the driver does not take from the URL.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) schema: Option<String>,
    pub(crate) connections: u32,
    /// The longest a connection or a statement may take.
    pub(crate) timeout: Duration,
    /// The judging clock of a database that has none; the machine's by default.
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

impl Settings {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// Whether it is gone when the handle is.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.scheme == Scheme::Sqlite && self.url == ":memory:"
    }
}

/// A kind of database, compiled in or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    MySql,
    Postgres,
    Sqlite,
}

impl Scheme {
    pub(crate) fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "mysql" | "mariadb" => Some(Self::MySql),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }

    /// The parameters of its URLs, apart from those of all dialects.
    pub(crate) const fn parameters(self) -> &'static [&'static str] {
        match self {
            #[cfg(feature = "mysql")]
            Self::MySql => mysql::PARAMETERS,
            #[cfg(feature = "postgres")]
            Self::Postgres => postgres::PARAMETERS,
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::PARAMETERS,
            #[allow(unreachable_patterns)] // With all features there is no other.
            _ => &[],
        }
    }
}

/// What an error of the database means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another transaction was in the way; again, it may work.
    Conflict,
    /// Too many clients.
    Crowded,
    /// The file is no database, or a broken one.
    Damaged,
    /// The user may not do this.
    Forbidden,
    /// No room on the disk, or no memory.
    Full,
    /// The tables are not there.
    Missing,
    /// Anything else.
    Other,
    /// Only reading is possible now.
    ReadOnly,
    /// A key is there already.
    Taken,
    /// User or password are wrong.
    Unauthenticated,
    /// It is not there, or going.
    Unreachable,
}

/// One database.
#[async_trait]
pub(crate) trait Dialect: Words + Debug + Send + Sync + 'static {
    /// Its name, as in URLs.
    fn name(&self) -> &'static str;

    /// What begins a transaction that writes.
    fn begin(&self) -> &'static str;

    /// A connection that works.
    async fn acquire(&self) -> Result<Box<dyn Connection>, sqlx::Error>;

    /// Why no connection can be had, if asking tells.
    async fn reason(&self) -> Option<sqlx::Error> {
        None
    }

    /// Whether all connections are in use.
    fn is_exhausted(&self) -> bool;

    /// Whether writers wait for each other at the file.
    fn has_one_writer(&self) -> bool {
        false
    }

    /// What names the start of the machine whose clock judges, if that is one
    /// that begins anew with it.
    fn boot(&self) -> Option<String> {
        None
    }

    /// The tables of version 1.
    fn definitions(&self) -> &'static str;

    /// What makes a second migrator wait.
    fn migration_lock(&self) -> Option<&'static str> {
        None
    }

    /// What lets it go on, where the end of the transaction does not.
    fn migration_unlock(&self) -> Option<&'static str> {
        None
    }

    /// The channel that is notified of writes.
    fn channel(&self) -> Option<&str> {
        None
    }

    /// Something that tells of writes, if there is anything better than to ask.
    async fn notice(&self) -> Result<Option<Box<dyn Notice>>, sqlx::Error> {
        Ok(None)
    }

    /// What makes a connection take the rows of beats in the order of their slots,
    /// where that has to be said.
    fn beats_in_order(&self) -> Option<&'static str> {
        None
    }

    /// The statement of a beat.
    fn beat(&self) -> &'static str;

    /// What an error code means.
    fn fault(&self, code: &str) -> Fault;
}

/// Hears of writes, by others at least. It may miss some.
#[async_trait]
pub(crate) trait Notice: Send {
    /// Waits for a write, or for as long as `at_most`; whether there was one.
    async fn heard(&mut self, at_most: Duration) -> Result<bool, sqlx::Error>;
}

/// The dialect of `settings`. Connects to nothing yet.
pub(crate) fn open(settings: &Settings) -> Result<Arc<dyn Dialect>> {
    let opened: Result<Arc<dyn Dialect>, sqlx::Error> = match settings.scheme {
        #[cfg(feature = "mysql")]
        Scheme::MySql => mysql::MySqlDialect::open(settings).map(|dialect| Arc::new(dialect) as _),
        #[cfg(feature = "postgres")]
        Scheme::Postgres => {
            postgres::PostgresDialect::open(settings).map(|dialect| Arc::new(dialect) as _)
        }
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite => {
            sqlite::SqliteDialect::open(settings).map(|dialect| Arc::new(dialect) as _)
        }
        #[allow(unreachable_patterns)] // With all features there is no other.
        other => {
            let message = format!("{} is not compiled in", other.as_str());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    opened.map_err(|error| to_error(None, error))
}

/// The number of an error, in databases that have one besides the SQLSTATE.
pub(crate) fn number(error: &dyn sqlx::error::DatabaseError) -> Option<String> {
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Some(error.number().to_string());
    }
    let _ = error;
    None
}
