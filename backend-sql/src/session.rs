//! A connection in use: what it sends is finished, and a connection that was
//! left in the middle of something is closed.

use std::sync::Arc;
use std::time::Duration;

use registry_api::{Error, Result};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::connection::{Connection, Row};
use crate::dialect::{Dialect, Fault};
use crate::fault::{fault_of, to_error, too_late};
use crate::statement::{Value, finish};

/// A connection taken from the pool.
pub(crate) struct Session {
    dialect: Arc<dyn Dialect>,
    connection: Option<Box<dyn Connection>>,
    /// A statement is under way, or a transaction is open.
    busy: bool,
    /// Nobody else wants it as it is.
    own: bool,
    limit: Duration,
}

/// Why a statement failed, for whoever may try again.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) error: Error,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Session {
    /// Takes a connection; no statement on it may take longer than `limit`.
    pub(crate) async fn open(dialect: &Arc<dyn Dialect>, limit: Duration) -> Result<Self> {
        let connection = match timeout(limit, dialect.acquire()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(refused(&**dialect, error).await),
            Err(_) => return Err(refused(&**dialect, sqlx::Error::PoolTimedOut).await),
        };
        let (dialect, connection) = (Arc::clone(dialect), Some(connection));
        Ok(Self { dialect, connection, busy: false, own: false, limit })
    }

    /// Lets statements take longer: those that wait for their turn to write.
    pub(crate) fn patient(mut self) -> Self {
        self.limit *= 2;
        self
    }

    /// Sets it up for one purpose; it does not go back to the pool.
    pub(crate) async fn set_up(mut self, text: &str) -> Result<Self, Failed> {
        self.own = true;
        self.raw(text).await?;
        Ok(self)
    }

    /// The connection, for whoever keeps it until the next time: not in the middle
    /// of a statement that was not answered, whose answer may never come.
    pub(crate) fn if_well(self) -> Option<Self> {
        (!self.busy).then_some(self)
    }

    /// Runs a query.
    pub(crate) async fn rows(&mut self, text: &str, values: &[Value]) -> Result<Vec<Row>, Failed> {
        let finished = finish(&*self.dialect, text, values);
        let (limit, was_busy) = (self.limit, self.busy);
        let done = timeout(limit, self.start()?.rows(finished, values)).await;
        self.end(was_busy, done)
    }

    /// Runs a statement; the number of rows it matched.
    pub(crate) async fn run(&mut self, text: &str, values: &[Value]) -> Result<u64, Failed> {
        let finished = finish(&*self.dialect, text, values);
        let (limit, was_busy) = (self.limit, self.busy);
        let done = timeout(limit, self.start()?.run(finished, values)).await;
        self.end(was_busy, done)
    }

    /// Runs texts without values.
    pub(crate) async fn raw(&mut self, text: &str) -> Result<(), Failed> {
        let (limit, was_busy) = (self.limit, self.busy);
        let done = timeout(limit, self.start()?.raw(text)).await;
        self.end(was_busy, done)
    }

    /// Begins a transaction. Only [`commit`](Self::commit) ends it well.
    pub(crate) async fn begin(&mut self) -> Result<(), Failed> {
        let begin = self.dialect.begin();
        self.raw(begin).await?;
        self.busy = true;
        Ok(())
    }

    /// Makes it so.
    pub(crate) async fn commit(&mut self) -> Result<(), Failed> {
        self.raw("COMMIT").await?;
        self.busy = false;
        Ok(())
    }

    /// Undoes it.
    pub(crate) async fn rollback(&mut self) -> Result<(), Failed> {
        self.raw("ROLLBACK").await?;
        self.busy = false;
        Ok(())
    }

    fn start(&mut self) -> Result<&mut Box<dyn Connection>, Failed> {
        self.busy = true;
        self.connection.as_mut().ok_or_else(|| {
            let error = to_error(Some(&*self.dialect), sqlx::Error::PoolClosed);
            Failed { fault: Fault::Unreachable, error }
        })
    }

    fn end<T>(
        &mut self,
        was_busy: bool,
        done: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T, Failed> {
        let Ok(done) = done else {
            return Err(Failed { fault: Fault::Unreachable, error: too_late() });
        };
        done.inspect(|_| self.busy = was_busy).map_err(|error| {
            // If the database answered, the connection itself is well.
            self.busy = was_busy || !matches!(error, sqlx::Error::Database(_));
            let fault = fault_of(&*self.dialect, &error);
            Failed { fault, error: to_error(Some(&*self.dialect), error) }
        })
    }
}

/// Why there is no connection.
async fn refused(dialect: &dyn Dialect, error: sqlx::Error) -> Error {
    let waited = matches!(error, sqlx::Error::PoolTimedOut) && !dialect.is_exhausted();
    let reason = match waited {
        true => timeout(Duration::from_secs(1), dialect.reason()).await.ok().flatten(),
        false => None,
    };
    to_error(Some(dialect), reason.unwrap_or(error))
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && (self.busy || self.own)
        {
            connection.close();
        }
    }
}
