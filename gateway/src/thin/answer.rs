//! Failures as the thin API tells them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portolan::ErrorKind;
use portolan::call::{CallError, CallErrorKind};
use portolan::h2::{self, Content, ErrorType, PlatformError};
use serde_json::json;

use super::Thin;
use crate::dispatch::DispatchError;
use crate::problem;

pub(super) const PROTOBUF: &str = "application/x-protobuf";
/// The error number of those that have none.
const NO_NUMBER: i64 = 11;

impl Thin {
    /// An answer that is none.
    pub(super) fn no_answer(&self, service: &str, endpoint: &str) -> PlatformError {
        let code = self.prefix.name("kernel.platform.badresponse");
        let why = "the service did not answer with an api.Response";
        PlatformError::new(ErrorType::BadResponse, code, why)
            .with_context([service.to_owned(), endpoint.to_owned()])
    }

    /// A failure as H2's own client tells it, where it knows such a one.
    pub(super) fn told(
        &self,
        error: &DispatchError,
        service: &str,
        endpoint: &str,
    ) -> PlatformError {
        let platform = |kind, name: &str, why: &str| {
            let code = self.prefix.name(&format!("kernel.platform.{name}"));
            PlatformError::new(kind, code, why)
                .with_context([service.to_owned(), endpoint.to_owned()])
        };
        let failed = |error: &CallError| match error.kind() {
            CallErrorKind::NoInstance => (ErrorType::NotFound, "notfound"),
            CallErrorKind::Registry(ErrorKind::Timeout) => (ErrorType::Timeout, "timeout"),
            CallErrorKind::Registry(ErrorKind::Overloaded) => {
                (ErrorType::CircuitBroken, "circuitbreaker")
            }
            _ => (ErrorType::InternalServerError, "badresponse"),
        };
        match error {
            DispatchError::Unknown => {
                platform(ErrorType::NotFound, "notfound", "there is no such service")
            }
            DispatchError::Call(error) => h2::application(error).unwrap_or_else(|| {
                let (kind, name) = failed(error);
                platform(kind, name, error.message())
            }),
            DispatchError::Registry(error) => {
                platform(ErrorType::InternalServerError, "registry", &error.to_string())
            }
            other => platform(ErrorType::InternalServerError, "badresponse", &format!("{other:?}")),
        }
    }
}

/// An error as the thin API tells it: in JSON with a number, which is the first thing of
/// its context or its code, where one of them is a number.
pub(super) fn refusal(error: &PlatformError, content: Content) -> Response {
    let status = error.http_code.unwrap_or_else(|| error.kind().http_code());
    let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if content == Content::Protobuf {
        return answer(status, content, error.write(content).into());
    }
    let first = error.context.first().and_then(|first| first.parse().ok());
    let rest = error.context.iter().skip(usize::from(first.is_some()));
    let number = first.or_else(|| error.code.parse().ok()).unwrap_or(NO_NUMBER);
    problem::json(
        status,
        &json!({
            "status": false,
            "payload": error.description,
            "code": number,
            "dotted_code": error.code,
            "context": rest.collect::<Vec<_>>(),
        }),
    )
}

pub(super) fn answer(status: StatusCode, content: Content, body: Body) -> Response {
    let kind = match content {
        Content::Protobuf => PROTOBUF,
        Content::Json => "application/json; charset=utf-8",
    };
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
