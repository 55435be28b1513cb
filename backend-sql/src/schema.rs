//! The tables, and how they come to be.

use std::sync::Arc;
use std::time::Duration;

use registry_api::{Error, ErrorKind, Result};

use crate::dialect::{Dialect, Fault};
use crate::session::{Failed, Session};

/// The version of the tables this program knows.
pub(crate) const VERSION: i64 = 1;

/// Definitions may have to wait for another migrator.
const PATIENCE: Duration = Duration::from_secs(30);
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS portolan_schema (version BIGINT NOT NULL)";
const READ: &str = "SELECT COALESCE(MAX(version), 0) FROM portolan_schema";

/// Brings the tables to this program's version, once, however many try at the
/// same time. A version that is not known is left alone.
///
/// Nothing is written where the version is current, so a user that may not
/// define tables can run against those that are there.
pub(crate) async fn migrate(dialect: &Arc<dyn Dialect>) -> Result<()> {
    if version(dialect).await? == VERSION {
        return Ok(());
    }
    let mut session = Session::open(dialect, PATIENCE).await?;
    session.begin().await?;
    if let Some(lock) = dialect.migration_lock() {
        session.rows(lock, &[]).await?;
    }
    let migrated = define(&mut session, &**dialect).await;
    let done = match migrated {
        Ok(()) => session.commit().await,
        Err(failed) => session.rollback().await.and(Err(failed)),
    };
    if let Some(unlock) = dialect.migration_unlock() {
        session.rows(unlock, &[]).await?;
    }
    Ok(done?)
}

/// The version of the tables, 0 if there are none.
async fn version(dialect: &Arc<dyn Dialect>) -> Result<i64> {
    let mut session = Session::open(dialect, PATIENCE).await?;
    match session.rows(READ, &[]).await {
        Ok(rows) => check(rows.first().and_then(|row| row.int(0)).unwrap_or(0)),
        Err(failed) if failed.fault == Fault::Missing => Ok(0),
        // SQLite has one code for all that is wrong with a statement.
        Err(failed) if failed.fault == Fault::Other && dialect.has_one_writer() => Ok(0),
        Err(failed) => Err(failed.error),
    }
}

fn check(version: i64) -> Result<i64> {
    if version <= VERSION {
        return Ok(version);
    }
    let message = "the tables were made by a newer version of this program; upgrade this one";
    Err(Error::new(ErrorKind::Unsupported, message).with("version", version).with("known", VERSION))
}

async fn define(session: &mut Session, dialect: &dyn Dialect) -> Result<(), Failed> {
    session.raw(VERSIONS).await?;
    let rows = session.rows(READ, &[]).await?;
    // Another migrator was quicker.
    if rows.first().and_then(|row| row.int(0)).unwrap_or(0) >= VERSION {
        return Ok(());
    }
    for definition in definitions(dialect.definitions()) {
        session.raw(&definition).await?;
    }
    session.raw("INSERT INTO portolan_schema (version) VALUES (1)").await
}

/// The statements of a file, without its comments.
fn definitions(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let code: Vec<_> = code.collect();
    let statements = code.join("\n");
    let statements = statements.split(';').map(str::trim).filter(|text| !text.is_empty());
    statements.map(str::to_owned).collect()
}
