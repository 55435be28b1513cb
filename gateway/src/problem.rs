//! Answers: the guide's texts where it gives one, else RFC 9457 problems.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portolan::{Error, ErrorKind};
use serde_json::{Value, json};

/// A text answer, exactly as the original gateway gives it.
pub(crate) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    answer(status, "text/plain; charset=utf-8", text.into())
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    answer(status, "application/json; charset=utf-8", Body::from(value.to_string()))
}

/// A JSON answer that is text already.
pub(crate) fn raw_json(status: StatusCode, json: Vec<u8>) -> Response {
    answer(status, "application/json; charset=utf-8", Body::from(json))
}

/// A client's mistake or a failure of ours, with the field at fault if there is one.
pub(crate) fn problem(status: StatusCode, field: &str, detail: &str) -> Response {
    let mut value = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    if !field.is_empty() {
        value["field"] = Value::from(field);
    }
    answer(status, "application/problem+json", Body::from(value.to_string()))
}

/// An error that the application itself answered.
pub(crate) fn application(status: StatusCode, code: &str, message: &str) -> Response {
    let value = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": message,
        "code": code,
    });
    answer(status, "application/problem+json", Body::from(value.to_string()))
}

/// A failure of a registry operation.
pub(crate) fn registry(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Compacted => StatusCode::GONE,
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Unavailable | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    problem(status, error.context("field").unwrap_or_default(), &error.to_string())
}

fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
