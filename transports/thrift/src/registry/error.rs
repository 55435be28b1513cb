//! Failures of calls as failures of registry operations, and back.

use registry_api::call::{CallError, CallErrorKind, Reply};
use registry_api::{Applied, Error, ErrorKind, Result};

use super::model::Form as _;
use super::record::{Outcome, Void, Wire, encode};
use crate::wire::WireError;

/// The answer of a handler.
pub(super) fn answer<T: Wire>(outcome: Result<T>) -> Result<Reply, CallError> {
    match outcome {
        Ok(value) => Ok(Reply::new(encode(&Outcome { value: Some(value), error: None }))),
        Err(error) => {
            let outcome = Outcome::<Void> { value: None, error: Some(error.to_wire()) };
            Err(CallError::application("RegistryError", encode(&outcome)))
        }
    }
}

/// A question that does not fit the IDL.
pub(super) fn malformed(error: &WireError) -> CallError {
    CallError::new(CallErrorKind::Framework, format!("the arguments are no Thrift: {error}"))
}

/// A call that brought no outcome.
pub(super) fn unanswered(error: &CallError) -> Error {
    let kind = match error.kind() {
        CallErrorKind::Registry(kind) => kind,
        CallErrorKind::UnknownMethod | CallErrorKind::WrongInstance => ErrorKind::Unsupported,
        CallErrorKind::Framework | CallErrorKind::Application => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    let unknown = matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Corrupt);
    let applied = if unknown { Applied::Unknown } else { Applied::No };
    Error::new(kind, error.message()).applied(applied)
}

/// An answer that does not fit the IDL.
pub(super) fn corrupt(reason: impl std::fmt::Display) -> Error {
    let message = format!("the registry answered what cannot be understood: {reason}");
    Error::new(ErrorKind::Corrupt, message).applied(Applied::Unknown)
}
