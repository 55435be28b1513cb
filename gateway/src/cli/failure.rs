//! Why a command failed, and with which exit code.

use std::fmt::{self, Display};

use axum::http::StatusCode;
use portolan::{Error, ErrorKind};

use crate::http_client::HttpError;

/// A message for people and an exit code for scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    message: String,
}

impl Failure {
    /// Code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }

    /// Code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// Code 3.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(3, message)
    }

    /// Code 4.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(4, message)
    }

    /// What a gateway answered instead of what was asked for.
    pub(crate) fn answered(status: StatusCode, body: &str) -> Self {
        let message = format!("the gateway answered {status}: {}", body.trim());
        match status {
            StatusCode::NOT_FOUND => Self::not_found(message),
            _ => Self::failed(message),
        }
    }

    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            ErrorKind::InvalidArgument | ErrorKind::Unsupported => Self::usage(message),
            ErrorKind::NotFound => Self::not_found(message),
            ErrorKind::Timeout | ErrorKind::Unavailable => Self::unreachable(message),
            _ => Self::failed(message),
        }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Broken(reason) => Self::failed(reason),
            HttpError::Unreachable(reason) => Self::unreachable(reason),
        }
    }
}
