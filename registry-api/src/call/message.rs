//! A call and its reply.

use std::time::Duration;

use bytes::Bytes;

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
    /// Time left until the caller gives up.
    pub timeout: Duration,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// Whether nobody answers: the reply is empty and comes once it is sent.
    pub oneway: bool,
}

impl Call {
    /// A call with the wire's own encoding and ten seconds of time.
    pub fn new(service: ServiceName, method: impl Into<String>, payload: Bytes) -> Self {
        Self {
            service,
            method: method.into(),
            headers: Headers::new(),
            content_type: String::new(),
            payload,
            timeout: Duration::from_secs(10),
            idempotent: false,
            oneway: false,
        }
    }

    /// Sets the time left.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
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
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// Facts about the reply.
    pub headers: Headers,
    /// What the payload is; empty is the wire's own encoding.
    pub content_type: String,
    /// The encoded result.
    pub payload: Bytes,
}

impl Reply {
    /// A reply in the wire's own encoding.
    pub fn new(payload: Bytes) -> Self {
        Self { payload, ..Self::default() }
    }
}
