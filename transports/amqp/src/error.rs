//! H2's typed errors, and the one table between them and kinds of failure.
//!
//! Facts: HailoOSS `platform` at 39e911a, `proto/error` and `errors/errors.go`. Two
//! types have no number: they travel as 0, and are known by their HTTP status. The
//! status is always sent: H2's own reader needs it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use registry_api::ErrorKind;
use registry_api::call::{CallError, CallErrorKind};
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::names::Prefix;

/// What an error reply holds.
#[derive(Clone, PartialEq, Message)]
pub struct PlatformError {
    /// Its type's number; 0 for the types that have none.
    #[prost(int32, required, tag = "1")]
    pub number: i32,
    /// A dotted code that names this error.
    #[prost(string, required, tag = "2")]
    pub code: String,
    /// What happened, for people.
    #[prost(string, required, tag = "3")]
    pub description: String,
    /// The status it is over HTTP.
    #[prost(uint32, optional, tag = "4")]
    pub http_code: Option<u32>,
    /// More, by position; the first may be a number of older systems.
    #[prost(string, repeated, tag = "5")]
    pub context: Vec<String>,
}

/// The types of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The caller's argument is wrong.
    BadRequest,
    /// An answer made no sense.
    BadResponse,
    /// A circuit breaker is open.
    CircuitBroken,
    /// It contradicts what is there.
    Conflict,
    /// The caller may not do this.
    Forbidden,
    /// Something failed.
    InternalServerError,
    /// It is not there.
    NotFound,
    /// It took too long.
    Timeout,
    /// Nobody knows who the caller is.
    Unauthorized,
}

/// Each type with its name in JSON, its number and its HTTP status.
const TYPES: [(ErrorType, &str, i32, u32); 9] = [
    (ErrorType::InternalServerError, "INTERNAL_SERVER_ERROR", 1, 500),
    (ErrorType::BadRequest, "BAD_REQUEST", 2, 400),
    (ErrorType::BadResponse, "BAD_RESPONSE", 3, 500),
    (ErrorType::Timeout, "TIMEOUT", 4, 504),
    (ErrorType::Forbidden, "FORBIDDEN", 5, 403),
    (ErrorType::NotFound, "NOT_FOUND", 6, 404),
    (ErrorType::Conflict, "CONFLICT", 7, 409),
    (ErrorType::Unauthorized, "UNAUTHORIZED", 0, 401),
    (ErrorType::CircuitBroken, "CIRCUIT_BROKEN", 0, 500),
];

/// The form of a [`PlatformError`] in JSON.
#[derive(Serialize, Deserialize)]
struct Shape {
    #[serde(rename = "type", alias = "Type")]
    name: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    description: String,
    #[serde(rename = "httpCode", default, skip_serializing_if = "Option::is_none")]
    http_code: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    context: Vec<String>,
}

impl ErrorType {
    fn row(self) -> (&'static str, i32, u32) {
        let row = TYPES.iter().find(|(kind, ..)| *kind == self);
        row.map_or(("INTERNAL_SERVER_ERROR", 1, 500), |(_, name, number, http)| {
            (name, *number, *http)
        })
    }

    /// The HTTP status it stands for.
    pub fn http_code(self) -> u32 {
        self.row().2
    }
}

impl PlatformError {
    /// An error of this type.
    pub fn new(kind: ErrorType, code: impl Into<String>, description: impl Into<String>) -> Self {
        let (_, number, http) = kind.row();
        Self {
            number,
            code: code.into(),
            description: description.into(),
            http_code: Some(http),
            context: Vec::new(),
        }
    }

    /// Adds context.
    #[must_use]
    pub fn with_context(mut self, context: impl IntoIterator<Item = String>) -> Self {
        self.context.extend(context);
        self
    }

    /// Its type; one that is not known is an internal error.
    pub fn kind(&self) -> ErrorType {
        let http = self.http_code.unwrap_or(500);
        let is = |(_, _, number, status): &&(ErrorType, &str, i32, u32)| match self.number {
            0 => *number == 0 && *status == http,
            known => *number == known,
        };
        TYPES.iter().find(is).map_or(ErrorType::InternalServerError, |(kind, ..)| *kind)
    }

    /// As the body of a reply.
    pub fn write(&self, content: Content) -> Vec<u8> {
        match content {
            Content::Protobuf => self.encode_to_vec(),
            Content::Json => {
                let shape = Shape {
                    name: self.kind().row().0.to_owned(),
                    code: self.code.clone(),
                    description: self.description.clone(),
                    http_code: self.http_code,
                    context: self.context.clone(),
                };
                // Texts and numbers: there is nothing that could fail.
                serde_json::to_vec(&shape).unwrap_or_default()
            }
        }
    }

    /// The error in the body of a reply.
    pub fn read(content: Content, body: &[u8]) -> Option<Self> {
        match content {
            Content::Protobuf => Self::decode(body).ok(),
            Content::Json => {
                let shape: Shape = serde_json::from_slice(body).ok()?;
                let named = TYPES.iter().find(|(_, name, ..)| *name == shape.name);
                // Go writes a type without a name as its number.
                let number = named.map_or_else(
                    || shape.name.parse().unwrap_or_default(),
                    |(_, _, number, _)| *number,
                );
                let status = named.map(|(_, _, _, status)| *status);
                Some(Self {
                    number,
                    code: shape.code,
                    description: shape.description,
                    http_code: shape.http_code.or(status),
                    context: shape.context,
                })
            }
        }
    }
}

/// What our ends tell each other besides the type: the last part of the code,
/// after `portolan`. Peers see a code like any other.
const KINDS: [(&str, CallErrorKind, ErrorType); 15] = {
    use CallErrorKind as Kind;
    use ErrorType as Type;
    const fn of(kind: ErrorKind) -> Kind {
        Kind::Registry(kind)
    }
    [
        ("application", Kind::Application, Type::InternalServerError),
        ("cancelled", Kind::Cancelled, Type::InternalServerError),
        ("framework", Kind::Framework, Type::InternalServerError),
        ("noinstance", Kind::NoInstance, Type::NotFound),
        ("wronginstance", Kind::WrongInstance, Type::NotFound),
        ("alreadyexists", of(ErrorKind::AlreadyExists), Type::Conflict),
        ("closed", of(ErrorKind::Closed), Type::InternalServerError),
        ("conflict", of(ErrorKind::Conflict), Type::Conflict),
        ("invalidargument", of(ErrorKind::InvalidArgument), Type::BadRequest),
        ("notfound", of(ErrorKind::NotFound), Type::NotFound),
        ("permissiondenied", of(ErrorKind::PermissionDenied), Type::Forbidden),
        ("timeout", of(ErrorKind::Timeout), Type::Timeout),
        ("unauthenticated", of(ErrorKind::Unauthenticated), Type::Unauthorized),
        ("unavailable", of(ErrorKind::Unavailable), Type::InternalServerError),
        ("unsupported", of(ErrorKind::Unsupported), Type::InternalServerError),
    ]
};

/// The codes that H2's own servers give.
const MISSING: &str = "kernel.handler.missing";
const CAPACITY: &str = "kernel.server.capacity";
const OURS: &str = ".portolan.";

/// A failure of a call as H2's error. `scope` is what its code begins with, and
/// `prefix` what the platform's own codes do.
pub(crate) fn of(error: &CallError, prefix: &Prefix, scope: &str) -> PlatformError {
    if let Some(told) = application(error) {
        return told;
    }
    let text = error.message();
    let named = |kind, name: &str| PlatformError::new(kind, prefix.name(name), text);
    match error.kind() {
        CallErrorKind::UnknownMethod => named(ErrorType::InternalServerError, MISSING),
        CallErrorKind::Registry(ErrorKind::Overloaded) => {
            named(ErrorType::InternalServerError, CAPACITY)
        }
        kind => {
            let row = KINDS.iter().find(|(_, known, _)| *known == kind);
            let (name, _, kind) = row.copied().unwrap_or(KINDS[2]);
            let platform = PlatformError::new(kind, format!("{scope}{OURS}{name}"), text);
            match error.kind() {
                CallErrorKind::Application => {
                    let body = STANDARD.encode(error.body());
                    platform.with_context([error.code().to_owned(), body])
                }
                _ => platform,
            }
        }
    }
}

/// H2's error as the failure of a call.
pub(crate) fn read(error: &PlatformError) -> CallError {
    let kind = match error.code.rsplit_once(OURS) {
        Some((_, name)) => KINDS.iter().find(|(known, ..)| *known == name).map(|row| row.1),
        None if error.code.ends_with(MISSING) => Some(CallErrorKind::UnknownMethod),
        None if error.code.ends_with(CAPACITY) => {
            Some(CallErrorKind::Registry(ErrorKind::Overloaded))
        }
        None => None,
    };
    let body = || error.context.get(1).and_then(|text| STANDARD.decode(text).ok());
    match kind {
        Some(CallErrorKind::Application) => {
            let code = error.context.first().cloned().unwrap_or_default();
            CallError::application(code, Bytes::from(body().unwrap_or_default()))
        }
        Some(kind) => CallError::new(kind, error.description.clone()),
        None => error.clone().into(),
    }
}

/// The error that an H2 service itself answered, if it is one: with its code, its
/// status and its context.
pub fn application(error: &CallError) -> Option<PlatformError> {
    if error.kind() != CallErrorKind::Application || error.code().is_empty() {
        return None;
    }
    let told = PlatformError::read(Content::Protobuf, error.body())?;
    (told.code == error.code()).then_some(told)
}

/// What a handler fails with, so that its callers get exactly this.
impl From<PlatformError> for CallError {
    fn from(error: PlatformError) -> Self {
        let body = error.encode_to_vec();
        Self::application(error.code, body.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_type_comes_back() {
        let kinds = KINDS.iter().map(|row| row.1);
        let more = [CallErrorKind::UnknownMethod, ErrorKind::Overloaded.into()];
        for kind in kinds.chain(more) {
            let told = of(&CallError::new(kind, "why"), &Prefix::default(), "svc.ep");
            for content in [Content::Protobuf, Content::Json] {
                let body = told.write(content);
                let back = PlatformError::read(content, &body).unwrap();
                assert_eq!(back, told, "{kind:?} in {content:?}");
                assert_eq!(read(&back).kind(), kind);
            }
        }
        for (kind, _, number, http) in TYPES {
            let error = PlatformError::new(kind, "a.b", "text");
            assert_eq!((error.number, error.http_code), (number, Some(http)));
            assert_eq!(error.kind(), kind);
        }
        let missing = CallError::new(CallErrorKind::UnknownMethod, "why");
        let missing = of(&missing, &Prefix::default(), "svc.ep");
        assert_eq!(missing.code, "com.hailocab.kernel.handler.missing");
        let application = CallError::application("Declared", Bytes::from_static(b"\x00\xff"));
        let back = read(&of(&application, &Prefix::default(), "s.e"));
        assert_eq!((back.code(), &back.body()[..]), ("Declared", &b"\x00\xff"[..]));
    }

    #[test]
    fn a_handler_says_which_error_its_callers_get() {
        let said = PlatformError::new(ErrorType::NotFound, "com.hailocab.service.hello.who", "no")
            .with_context(["7".to_owned()]);
        let told = of(&said.clone().into(), &Prefix::default(), "svc.ep");
        assert_eq!(told, said);
        assert_eq!(application(&read(&told)), Some(said));
        let other = CallError::application("Declared", Bytes::from_static(b"\x08\x06"));
        assert_eq!(application(&other), None);
        assert_eq!(application(&CallError::new(CallErrorKind::Framework, "why")), None);
    }

    #[test]
    fn what_go_writes_is_understood() {
        // type=0, code="a", description="b", httpCode=401: a type that has no number.
        let body = [8, 0, 18, 1, b'a', 26, 1, b'b', 32, 145, 3];
        let error = PlatformError::read(Content::Protobuf, &body).unwrap();
        assert_eq!(error.kind(), ErrorType::Unauthorized);
        let arrived = read(&error);
        assert_eq!((arrived.kind(), arrived.code()), (CallErrorKind::Application, "a"));
        assert_eq!(application(&arrived).as_ref(), Some(&error));
        let json = br#"{"type":"0","code":"a","description":"b","httpCode":401}"#;
        assert_eq!(PlatformError::read(Content::Json, json), Some(error));
        // The status is sent, and a number that is not known is an internal error.
        let told = PlatformError::new(ErrorType::NotFound, "a", "b").write(Content::Protobuf);
        assert_eq!(told, [8, 6, 18, 1, b'a', 26, 1, b'b', 32, 148, 3]);
        let unknown = PlatformError { number: 99, ..PlatformError::default() };
        assert_eq!(unknown.kind(), ErrorType::InternalServerError);
        assert_eq!(PlatformError::read(Content::Json, b"[]"), None);
        assert_eq!(PlatformError::read(Content::Protobuf, b"\xff"), None);
    }
}
