//! The one table between kinds of failure and gRPC statuses, and between those
//! and the numbers that peers of the reverse stream answer with.
//!
//! Codes: grpc/grpc `doc/statuscodes.md`. Their HTTP counterparts are those of
//! googleapis `google/rpc/code.proto`.

use bytes::Bytes;
use prost::Message;
use registry_api::call::{CallError, CallErrorKind};
use registry_api::{Applied, Error, ErrorKind};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::registry::Form as _;
use crate::v1;

/// Says which kind of failure an answer is, between ends of this crate.
pub(crate) const KIND: &str = "portolan-kind";

/// What a kind of failure is called on gRPC.
const KINDS: [(ErrorKind, Code); 13] = [
    (ErrorKind::AlreadyExists, Code::AlreadyExists),
    (ErrorKind::Conflict, Code::Aborted),
    (ErrorKind::Compacted, Code::OutOfRange),
    (ErrorKind::Corrupt, Code::DataLoss),
    (ErrorKind::InvalidArgument, Code::InvalidArgument),
    (ErrorKind::NotFound, Code::NotFound),
    (ErrorKind::Overloaded, Code::ResourceExhausted),
    (ErrorKind::PermissionDenied, Code::PermissionDenied),
    (ErrorKind::Timeout, Code::DeadlineExceeded),
    (ErrorKind::Unauthenticated, Code::Unauthenticated),
    (ErrorKind::Unavailable, Code::Unavailable),
    (ErrorKind::Unsupported, Code::Unimplemented),
    (ErrorKind::Closed, Code::Unavailable),
];

/// Codes, their names, and the HTTP status that says the same.
const CODES: [(Code, &str, u16); 17] = [
    (Code::Ok, "OK", 200),
    (Code::Cancelled, "CANCELLED", 499),
    (Code::Unknown, "UNKNOWN", 500),
    (Code::InvalidArgument, "INVALID_ARGUMENT", 400),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", 504),
    (Code::NotFound, "NOT_FOUND", 404),
    (Code::AlreadyExists, "ALREADY_EXISTS", 409),
    (Code::PermissionDenied, "PERMISSION_DENIED", 403),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED", 429),
    (Code::FailedPrecondition, "FAILED_PRECONDITION", 400),
    (Code::Aborted, "ABORTED", 409),
    (Code::OutOfRange, "OUT_OF_RANGE", 400),
    (Code::Unimplemented, "UNIMPLEMENTED", 501),
    (Code::Internal, "INTERNAL", 500),
    (Code::Unavailable, "UNAVAILABLE", 503),
    (Code::DataLoss, "DATA_LOSS", 500),
    (Code::Unauthenticated, "UNAUTHENTICATED", 401),
];

fn code_of_kind(kind: ErrorKind) -> Code {
    let found = KINDS.iter().find(|(known, _)| *known == kind);
    found.map_or(Code::Unknown, |(_, code)| *code)
}

fn kind_of_code(code: Code) -> Option<ErrorKind> {
    let found = KINDS.iter().find(|(_, known)| *known == code);
    found.map(|(kind, _)| *kind)
}

/// The name of a code.
pub(crate) fn name(code: Code) -> &'static str {
    CODES[(i32::from(code) as usize).min(16)].1
}

/// The code of a name.
pub(crate) fn named(name: &str) -> Option<Code> {
    CODES.iter().find(|(_, known, _)| *known == name).map(|(code, ..)| *code)
}

/// The HTTP status that says the same as a code.
pub(crate) fn http(code: Code) -> u16 {
    CODES[(i32::from(code) as usize).min(16)].2
}

/// The code of a number that a peer answered with: 0 and 2xx are OK, 1 to 16 are
/// gRPC's own, 4xx and 5xx are HTTP's.
pub(crate) fn of_number(number: i32) -> Code {
    match number {
        0..=16 => Code::from_i32(number),
        200..=299 => Code::Ok,
        409 => Code::Aborted,
        400..=599 => {
            let found = CODES.iter().find(|(.., http)| i32::from(*http) == number);
            found.map_or(Code::Unknown, |(code, ..)| *code)
        }
        _ => Code::Unknown,
    }
}

/// What a caller of gRPC is told about a call that failed.
pub(crate) fn code_of(error: &CallError) -> Code {
    match error.kind() {
        CallErrorKind::Application => named(error.code()).unwrap_or(Code::Unknown),
        CallErrorKind::Cancelled => Code::Cancelled,
        CallErrorKind::NoInstance | CallErrorKind::WrongInstance => Code::Unavailable,
        CallErrorKind::UnknownMethod => Code::Unimplemented,
        CallErrorKind::Registry(kind) => code_of_kind(kind),
        _ => Code::Internal,
    }
}

/// A call that failed, as a status: what the application itself answered keeps its
/// details, everything else says which kind of failure it is.
pub(crate) fn refused(error: &CallError) -> Status {
    let code = code_of(error);
    if error.kind() != CallErrorKind::Application {
        let mut status = Status::new(code, error.message());
        let kind = MetadataValue::from_static(error.kind().name());
        status.metadata_mut().insert(KIND, kind);
        return status;
    }
    match Rich::decode(&**error.body()) {
        Ok(rich) if rich.code == i32::from(code) && code != Code::Ok => {
            let details = match rich.details.is_empty() {
                true => Bytes::new(),
                false => error.body().clone(),
            };
            Status::with_details(code, rich.message, details)
        }
        _ => Status::new(code, error.message()),
    }
}

/// A call that an instance answered with a status. The kind that it says counts where it
/// goes with the code.
pub(crate) fn answered(status: &Status) -> CallError {
    let kind = status.metadata().get(KIND).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(CallErrorKind::named);
    match kind.map(|kind| CallError::new(kind, status.message())) {
        Some(error)
            if error.kind() != CallErrorKind::Application && code_of(&error) == status.code() =>
        {
            error
        }
        _ => failed(status.code(), status.message(), status.details()),
    }
}

/// A call that an instance answered with a code.
///
/// What only the wire or the framework says is a kind of ours; everything else
/// is the application's, whose error body is a `google.rpc.Status`.
pub(crate) fn failed(code: Code, message: &str, details: &[u8]) -> CallError {
    match code {
        Code::Cancelled => CallError::new(CallErrorKind::Cancelled, message),
        Code::DeadlineExceeded => CallError::new(ErrorKind::Timeout.into(), message),
        Code::Unavailable => CallError::new(ErrorKind::Unavailable.into(), message),
        Code::Unimplemented => CallError::new(CallErrorKind::UnknownMethod, message),
        _ => CallError::application(name(code), rich(code, message, details)),
    }
}

/// `google.rpc.Status` (googleapis `google/rpc/status.proto`): what
/// `grpc-status-details-bin` carries.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rich {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// An error that the application itself answered, as other protocols tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// Its code: a name of gRPC's, or the application's own.
    pub code: String,
    /// The reason, for people.
    pub message: String,
    /// The HTTP status that says the same.
    pub http: u16,
}

/// What an application answered over gRPC; `None` for failures that are not its.
pub fn application(error: &CallError) -> Option<Told> {
    if error.kind() != CallErrorKind::Application {
        return None;
    }
    let rich =
        Rich::decode(&**error.body()).ok().filter(|rich| rich.code == i32::from(code_of(error)));
    let message = rich.map_or_else(|| error.message().to_owned(), |rich| rich.message);
    Some(Told { code: error.code().to_owned(), message, http: http(code_of(error)) })
}

fn rich(code: Code, message: &str, details: &[u8]) -> Bytes {
    if !details.is_empty() {
        return Bytes::copy_from_slice(details);
    }
    let rich = Rich { code: code.into(), message: message.to_owned(), details: Vec::new() };
    rich.encode_to_vec().into()
}

const ERROR_TYPE: &str = "type.googleapis.com/portolan.v1.Error";

/// A refusal of the registry as a status.
pub(crate) fn of_registry(error: &Error) -> Status {
    let code = code_of_kind(error.kind());
    let value = error.to_wire().encode_to_vec().into();
    let details = vec![Any { type_url: ERROR_TYPE.to_owned(), value }];
    let message = error.message().to_owned();
    let rich = Rich { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, rich.encode_to_vec().into())
}

/// A status as the registry's refusal; without details, by its code.
pub(crate) fn to_registry(status: &Status) -> Error {
    let rich = Rich::decode(status.details()).unwrap_or_default();
    let told = rich.details.iter().find(|any| any.type_url == ERROR_TYPE);
    if let Some(told) = told
        && let Ok(error) = v1::Error::decode(&*told.value)
        && let Ok(error) = Error::from_wire(error)
    {
        return error;
    }
    let kind = match status.code() {
        Code::Cancelled | Code::Unknown | Code::Internal => ErrorKind::Unavailable,
        code => kind_of_code(code).unwrap_or(ErrorKind::Corrupt),
    };
    let unknown = matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Corrupt);
    let applied = if unknown { Applied::Unknown } else { Applied::No };
    Error::new(kind, status.message()).applied(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_convention_are_understood() {
        for (number, code) in [
            (0, Code::Ok),
            (200, Code::Ok),
            (5, Code::NotFound),
            (404, Code::NotFound),
            (400, Code::InvalidArgument),
            (409, Code::Aborted),
            (500, Code::Unknown),
            (503, Code::Unavailable),
            (422, Code::Unknown),
            (-1, Code::Unknown),
            (17, Code::Unknown),
            (i32::MAX, Code::Unknown),
        ] {
            assert_eq!(of_number(number), code, "{number}");
        }
        for (place, (code, name, _)) in CODES.iter().enumerate() {
            assert_eq!(i32::from(*code) as usize, place);
            assert_eq!(named(name), Some(*code));
        }
    }

    #[test]
    fn a_refusal_arrives_as_it_was_given() {
        for (kind, _) in KINDS {
            let given = Error::new(kind, "no").with("field", "x").applied(Applied::Unknown);
            let seen = to_registry(&of_registry(&given));
            assert_eq!(seen.kind(), kind);
            assert_eq!(seen.context("field"), Some("x"));
            assert!(seen.may_have_applied());
        }
        assert_eq!(to_registry(&Status::unavailable("x")).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_failed_call_arrives_as_the_kind_it_was() {
        for kind in CallErrorKind::all().filter(|kind| *kind != CallErrorKind::Application) {
            let sent = refused(&CallError::new(kind, "no"));
            assert_eq!(answered(&sent).kind(), kind, "{kind:?}");
        }
        let rich = rich(Code::PermissionDenied, "no", &[]);
        let application = CallError::application("PERMISSION_DENIED", rich);
        let seen = answered(&refused(&application));
        assert_eq!((seen.kind(), seen.code()), (CallErrorKind::Application, "PERMISSION_DENIED"));
        // A kind that the code does not go with is not believed.
        let mut forged = Status::internal("no");
        forged.metadata_mut().insert(KIND, MetadataValue::from_static("overloaded"));
        assert_eq!(answered(&forged).kind(), CallErrorKind::Application);
    }
}
