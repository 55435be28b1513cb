//! A call and its reply.

use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use super::error::{CallError, CallErrorKind};
use super::identity::{IDENTITY, Identity};
use crate::identity::ServiceName;

/// Header pairs in order; names are lower-case.
pub type Headers = Vec<(String, String)>;

/// A request to one method of one service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The service.
    pub service: ServiceName,
    /// The method, as its interface definition names it.
    pub method: String,
    /// Facts about the call.
    pub headers: Headers,
    /// What the payload is, for example `application/json`; empty is the
    /// wire's own encoding.
    pub content_type: String,
    /// The encoded argument.
    pub payload: Bytes,
    /// Time left until the caller gives up. Where the caller does not say, a
    /// channel gives it what the endpoint's SLA suggests, a bare wire
    /// [`TIMEOUT`](Self::TIMEOUT).
    pub timeout: Option<Duration>,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// Whether nobody answers: the reply is empty and comes once it is sent.
    pub oneway: bool,
    /// Who makes it, on the side of a host whose [`Guard`](super::Guard) has checked
    /// it; it travels in no wire.
    pub identity: Option<Arc<Identity>>,
}

impl Call {
    /// The time a call has where nobody says: ten seconds.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A call in the wire's own encoding.
    pub fn new(service: ServiceName, method: impl Into<String>, payload: Bytes) -> Self {
        Self {
            service,
            method: method.into(),
            headers: Headers::new(),
            content_type: String::new(),
            payload,
            timeout: None,
            idempotent: false,
            oneway: false,
            identity: None,
        }
    }

    /// Sets the time left.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The time left, whoever says so.
    pub fn time_left(&self) -> Duration {
        self.timeout.unwrap_or(Self::TIMEOUT)
    }

    /// Says whether running it twice is the same as once.
    #[must_use]
    pub fn with_idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Adds a fact about the call; the name is kept in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Makes it a part of `served`, a call that is being served here: it is made for
    /// whoever made that one. A caller that proves who it is adds itself.
    #[must_use]
    pub fn on_behalf_of(mut self, served: &Self) -> Self {
        self.headers.retain(|(name, _)| name != IDENTITY);
        if let Some(proof) = served.header(IDENTITY) {
            self.headers.push((IDENTITY.to_owned(), proof.to_owned()));
        }
        self
    }

    /// Says whether nobody answers.
    #[must_use]
    pub fn with_oneway(mut self, oneway: bool) -> Self {
        self.oneway = oneway;
        self
    }
}

/// The answer to a [`Call`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// Facts about the reply.
    pub headers: Headers,
    /// What the payload is; empty is the wire's own encoding.
    pub content_type: String,
    /// The encoded result.
    pub payload: Bytes,
    /// More results that follow the first, where a wire carries streams; whoever
    /// cannot pass them on refuses the reply.
    pub more: Option<More>,
}

/// What follows the first result of a [`Reply`], up to the end or an error.
/// Dropping it gives up the call.
pub struct More(Pin<Box<dyn Stream<Item = Result<Bytes, CallError>> + Send>>);

impl More {
    /// Wraps a wire's stream.
    pub fn new(stream: impl Stream<Item = Result<Bytes, CallError>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// The next result. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl Stream for More {
    type Item = Result<Bytes, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl Debug for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("More")
    }
}

impl Reply {
    /// A reply in the wire's own encoding.
    pub fn new(payload: Bytes) -> Self {
        Self { payload, ..Self::default() }
    }

    /// Adds a fact about the reply; the name is kept in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The reply, if it is one result; else the refusal of whoever cannot pass on
    /// a stream.
    pub fn whole(self) -> Result<Self, CallError> {
        match self.more {
            None => Ok(self),
            Some(_) => {
                let reason = "the method answers with a stream, which is not served here";
                Err(CallError::new(CallErrorKind::UnknownMethod, reason))
            }
        }
    }
}

fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}
