//! A call of which only the path says whom it is for: from any gRPC client, or
//! from a service that asks up its stream.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use registry_api::ServiceName;
use registry_api::call::{Call, CallError, Headers, Reply};

use crate::reverse::{candidates, method_of, split};

/// A call that has arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incoming {
    path: String,
    /// Facts about the call.
    pub headers: Headers,
    /// The encoded message.
    pub payload: Bytes,
    /// How long the caller waits.
    pub timeout: Option<Duration>,
}

/// Finds out which service a call is for, and calls it.
#[async_trait]
pub trait Dispatch: Debug + Send + Sync + 'static {
    /// Answers the call. `NotFound` where no service has any of its
    /// [`candidates`](Incoming::candidates).
    async fn dispatch(&self, incoming: Incoming) -> Result<Reply, CallError>;
}

impl Incoming {
    /// A call of `/pkg.Service/Method`. The error says what is wrong with the path.
    pub fn new(path: &str, payload: Bytes) -> Result<Self, &'static str> {
        if !path.starts_with('/') {
            return Err("Path must start with '/'");
        }
        if split(path).is_none() {
            return Err("Path must have at least service and method parts");
        }
        let (path, headers, timeout) = (path.to_owned(), Headers::new(), None);
        Ok(Self { path, headers, payload, timeout })
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands before the method: `pkg.Service`.
    pub fn interface(&self) -> &str {
        split(&self.path).map_or("", |(interface, _)| interface)
    }

    /// The names that its service may be registered under, best first.
    pub fn candidates(&self) -> impl Iterator<Item = ServiceName> + '_ {
        candidates(self.interface())
    }

    /// The call of a service that is registered under one of these names.
    pub fn call(self, service: ServiceName) -> Call {
        let method = method_of(&service, self.interface(), &self.path).to_owned();
        let mut call = Call::new(service, method, self.payload);
        (call.headers, call.timeout) = (self.headers, self.timeout);
        call
    }
}
