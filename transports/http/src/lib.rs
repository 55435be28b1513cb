//! Calls over HTTP/1.1: `POST /SERVICE/METHOD`, the argument as the body, the result as
//! the body of the answer. What any HTTP server or client can be written for.
//!
//! [`HttpHost`] serves a handler, [`HttpCaller`] calls instances at `http://host:port`.
//! The names of headers and what statuses mean stand in `message`; docs/wire-http.md has
//! them for peers in other languages.

mod caller;
mod dial;
mod host;
mod message;

pub use self::caller::HttpCaller;
pub use self::host::{HostOptions, HttpHost};

/// The largest message that is taken or sent unless somebody says otherwise, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
