//! What a driver's error means to whoever asked the registry.

use registry_api::{Applied, Error, ErrorKind};

use crate::dialect::{Dialect, Fault};

/// The error of the registry for one of the driver. The driver's own words are its
/// source, for logs: they can name a key, and never hold a credential.
pub(crate) fn to_error(dialect: Option<&dyn Dialect>, error: sqlx::Error) -> Error {
    let fault = dialect.map_or(Fault::Other, |dialect| fault_of(dialect, &error));
    let (kind, message) = match fault {
        Fault::Conflict => (ErrorKind::Overloaded, "other writers were in the way, several times"),
        Fault::Crowded => (ErrorKind::Overloaded, "the database has too many clients"),
        Fault::Damaged => (ErrorKind::Corrupt, "the file is not a database, or a damaged one"),
        Fault::Forbidden => (ErrorKind::PermissionDenied, "the database user may not do this"),
        Fault::Full => (ErrorKind::Unavailable, "the database has no room left"),
        Fault::Missing => (ErrorKind::Unavailable, "a table, schema or database is missing"),
        Fault::ReadOnly => (ErrorKind::Unavailable, "the database is read-only"),
        Fault::Taken => (ErrorKind::Unavailable, "a row that nobody wrote is in the way"),
        Fault::Unauthenticated => {
            (ErrorKind::Unauthenticated, "the database refuses user or password")
        }
        Fault::Unreachable => (ErrorKind::Unavailable, "the database cannot be reached"),
        Fault::Other => other(dialect, &error),
    };
    Error::new(kind, message).because(error)
}

/// An error that says nothing a database would say with a code.
fn other(dialect: Option<&dyn Dialect>, error: &sqlx::Error) -> (ErrorKind, &'static str) {
    match error {
        sqlx::Error::Configuration(_) => (ErrorKind::InvalidArgument, "the URL cannot be used"),
        sqlx::Error::Tls(_) => (ErrorKind::Unavailable, "the encrypted connection failed"),
        sqlx::Error::PoolTimedOut if dialect.is_some_and(Dialect::is_exhausted) => {
            (ErrorKind::Overloaded, "all connections to the database are in use")
        }
        sqlx::Error::Database(_) => (ErrorKind::Unavailable, "the database refused"),
        _ => (ErrorKind::Unavailable, "the database cannot be reached"),
    }
}

/// What happened.
pub(crate) fn fault_of(dialect: &dyn Dialect, error: &sqlx::Error) -> Fault {
    let sqlx::Error::Database(database) = error else {
        return Fault::Other;
    };
    // MySQL's SQLSTATE says little; its own number says it.
    #[allow(unused_mut)]
    let mut code = database.code().unwrap_or_default().into_owned();
    if let Some(number) = crate::dialect::number(database.as_ref()) {
        code = number;
    }
    dialect.fault(&code)
}

/// The answer to a statement that took too long. It may have had its effect.
pub(crate) fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "the database did not answer in time").applied(Applied::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_database_is_unavailable_and_a_bad_url_an_argument() {
        let kind = |error| to_error(None, error).kind();
        assert_eq!(kind(sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
        assert_eq!(kind(sqlx::Error::Configuration("x".into())), ErrorKind::InvalidArgument);
    }
}
