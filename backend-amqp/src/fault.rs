//! What RabbitMQ's errors mean to whoever asked the registry.

use std::error::Error as StdError;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use registry_api::{Applied, Error, ErrorKind};

/// The meaning of an error of the client's. Its own words are the source, for
/// logs: they can name a queue, and never hold a password.
pub(crate) fn fault(error: lapin::Error) -> Error {
    let (kind, message) = match error.kind() {
        lapin::ErrorKind::ProtocolError(told) => {
            told_by_broker(told.kind(), told.get_message().as_str())
        }
        lapin::ErrorKind::IOError(error) if is_tls(error) => {
            (ErrorKind::Unavailable, "the encrypted connection failed")
        }
        lapin::ErrorKind::MissingHeartbeatError => {
            (ErrorKind::Unavailable, "the broker stopped answering")
        }
        _ => (ErrorKind::Unavailable, "the broker cannot be reached"),
    };
    Error::new(kind, message).because(error)
}

fn told_by_broker(kind: &AMQPErrorKind, text: &str) -> (ErrorKind, &'static str) {
    use {AMQPHardError as Hard, AMQPSoftError as Soft};
    match kind {
        // Before the connection is open, both are about who we are.
        AMQPErrorKind::Soft(Soft::ACCESSREFUSED) if text.contains("Login was refused") => {
            (ErrorKind::Unauthenticated, "the broker refuses user or password")
        }
        AMQPErrorKind::Soft(Soft::ACCESSREFUSED) => {
            (ErrorKind::PermissionDenied, "the broker's user may not do this")
        }
        AMQPErrorKind::Hard(Hard::NOTALLOWED) if text.contains("not found") => {
            (ErrorKind::Unavailable, "the vhost is missing")
        }
        AMQPErrorKind::Hard(Hard::NOTALLOWED) => {
            (ErrorKind::PermissionDenied, "the broker's user may not use this vhost")
        }
        AMQPErrorKind::Soft(Soft::NOTFOUND) => {
            (ErrorKind::Unavailable, "a queue or exchange is missing")
        }
        AMQPErrorKind::Soft(Soft::RESOURCELOCKED | Soft::PRECONDITIONFAILED) => {
            (ErrorKind::Unavailable, "a queue or exchange of another kind is in the way")
        }
        AMQPErrorKind::Hard(Hard::RESOURCEERROR) => {
            (ErrorKind::Overloaded, "the broker has no room left")
        }
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => {
            (ErrorKind::Unavailable, "the broker refused")
        }
    }
}

fn is_tls(error: &std::io::Error) -> bool {
    let text = error.get_ref().map(ToString::to_string).unwrap_or_default();
    text.contains("certificate") || text.contains("tls") || text.contains("Tls")
}

/// The answer where the broker said nothing in time.
pub(crate) fn silent() -> Error {
    Error::new(ErrorKind::Unavailable, "the broker says nothing")
}

/// The answer to a call that took too long. It may have had its effect.
pub(crate) fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "the broker did not answer in time").applied(Applied::Unknown)
}

/// The same error for one more who waits: its kind, words and facts, and the
/// words of its cause.
pub(crate) fn again(error: &Error, applied: Applied) -> Error {
    let facts = error.facts().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let copy = Error::new(error.kind(), error.message()).applied(applied);
    let copy = facts.fold(copy, |copy, (key, value)| copy.with(key, value));
    match error.source() {
        Some(cause) => copy.because(cause.to_string()),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn codes_and_texts_have_one_meaning() {
        let kind = |code: AMQPErrorKind, text: &str| {
            let told = AMQPError::new(code, text.into());
            fault(lapin::ErrorKind::ProtocolError(told).into()).kind()
        };
        let soft = |code, text| kind(AMQPErrorKind::Soft(code), text);
        let login = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.";
        assert_eq!(soft(AMQPSoftError::ACCESSREFUSED, login), ErrorKind::Unauthenticated);
        let denied = "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused";
        assert_eq!(soft(AMQPSoftError::ACCESSREFUSED, denied), ErrorKind::PermissionDenied);
        assert_eq!(soft(AMQPSoftError::NOTFOUND, "no queue"), ErrorKind::Unavailable);
        let hard = |text| kind(AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED), text);
        assert_eq!(hard("NOT_ALLOWED - vhost x not found"), ErrorKind::Unavailable);
        assert_eq!(hard("NOT_ALLOWED - access to vhost"), ErrorKind::PermissionDenied);
        let closed = std::io::Error::other("closed");
        assert_eq!(fault(lapin::Error::from(closed)).kind(), ErrorKind::Unavailable);
    }
}
