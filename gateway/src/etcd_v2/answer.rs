//! Answers as etcd v2 writes them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portolan::hprose::as_go_writes;
use portolan::{Error, ErrorKind};
use serde::Serialize;

/// An error of etcd v2's, with its numbers.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: u32,
    message: &'static str,
    cause: String,
    /// What etcd finds before it looks at the tree has no index.
    is_early: bool,
}

impl Refusal {
    fn new(status: StatusCode, code: u32, message: &'static str, cause: String) -> Self {
        Self { status, code, message, cause, is_early: false }
    }

    fn early(code: u32, message: &'static str, cause: String) -> Self {
        Self { is_early: true, ..Self::new(StatusCode::BAD_REQUEST, code, message, cause) }
    }

    pub(super) fn not_found(key: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 100, "Key not found", key.to_owned())
    }

    pub(super) fn no_file(key: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, 102, "Not a file", key)
    }

    pub(super) fn exists(key: String) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, 105, "Key already exists", key)
    }

    /// Who writes here shows no key of ours, so what belongs to somebody is not his.
    pub(super) fn not_his(cause: String) -> Self {
        let message = "The request requires user authentication";
        Self::new(StatusCode::UNAUTHORIZED, 110, message, cause)
    }

    pub(super) fn ttl() -> Self {
        let message = "The given TTL in POST form is not a number";
        Self::early(202, message, "invalid value for \"ttl\"".to_owned())
    }

    pub(super) fn index() -> Self {
        let message = "The given index in POST form is not a number";
        Self::early(203, message, "invalid value for \"waitIndex\"".to_owned())
    }

    pub(super) fn field(cause: String) -> Self {
        Self::early(209, "Invalid field", cause)
    }

    pub(super) fn cleared(oldest: u64, asked: u64) -> Self {
        let cause = format!("the requested history has been cleared [{oldest}/{asked}]");
        let message = "The event in requested index is outdated and cleared";
        Self::new(StatusCode::BAD_REQUEST, 401, message, cause)
    }

    pub(super) fn crowded() -> Self {
        let cause = "too many wait already".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 300, "Raft Internal Error", cause)
    }

    /// The registry's own refusal.
    pub(super) fn registry(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument => Self::field(error.to_string()),
            _ => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, 300, "Raft Internal Error", error.to_string())
            }
        }
    }

    pub(super) fn response(&self, index: u64) -> Response {
        let index = if self.is_early { 0 } else { index };
        let Self { code, message, cause, .. } = self;
        respond(self.status, index, line(&Told { code: *code, message, cause, index }))
    }
}

/// A JSON answer; its text ends with a line, as etcd's do.
pub(super) fn respond(status: StatusCode, index: u64, body: impl Into<Body>) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-etcd-index", HeaderValue::from(index));
    headers.insert("x-raft-index", HeaderValue::from(index));
    headers.insert("x-raft-term", HeaderValue::from_static("1"));
    // One registry, whichever gateway answers.
    headers.insert("x-etcd-cluster-id", HeaderValue::from_static("706f72746f6c616e"));
    response
}

/// An error as it is told.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "errorCode")]
    code: u32,
    message: &'a str,
    cause: &'a str,
    index: u64,
}

/// An answer as a line of text, as Go writes it.
pub(super) fn line(answer: &impl Serialize) -> String {
    // Maps with text keys, lists and numbers: there is nothing that could fail.
    as_go_writes(&serde_json::to_string(answer).unwrap_or_default()) + "\n"
}

pub(super) fn not_allowed() -> Response {
    let allowed = [(header::ALLOW, "HEAD,GET,PUT,DELETE")];
    (StatusCode::METHOD_NOT_ALLOWED, allowed, "Method Not Allowed\n").into_response()
}
