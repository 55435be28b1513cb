//! Calls: what travels between a caller and an instance, on every wire.
//!
//! One argument, and one result or, over gRPC, a stream of them. A wire translates
//! between these types and its own bytes in one place.

mod error;
mod guard;
mod identity;
mod message;
mod peer;

use std::fmt::Debug;

use async_trait::async_trait;

pub use self::error::{CallError, CallErrorKind};
pub use self::guard::{Guard, Guarded};
pub use self::identity::{IDENTITY, Identity, Subject, SubjectKind};
pub use self::message::{Call, Headers, More, Reply};
pub use self::peer::Peer;
use crate::address::Address;
use crate::instance::Offer;

/// The calling side of a wire.
#[async_trait]
pub trait Caller: Debug + Send + Sync + 'static {
    /// Whether an address is one of this wire's.
    fn speaks(&self, address: &Address) -> bool;

    /// Calls an instance.
    ///
    /// Ends at the call's timeout at the latest. Dropping the future cancels
    /// the call as far as the wire allows.
    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError>;
}

/// The serving side of an application.
#[async_trait]
pub trait Handler: Debug + Send + Sync + 'static {
    /// Whether a [`Guard`] checks who calls.
    fn is_guarded(&self) -> bool {
        false
    }

    /// Answers one call; runs concurrently with others.
    async fn handle(&self, call: Call) -> Result<Reply, CallError>;
}

/// A wire that is serving a [`Handler`].
#[async_trait]
pub trait Host: Debug + Send + Sync + 'static {
    /// What it serves, where, and how it wants to be called: what an instance
    /// joins with.
    fn offers(&self) -> Vec<Offer>;

    /// Whether all it serves is behind a [`Guard`]. A host that does not say is open to
    /// whoever reaches it.
    fn is_guarded(&self) -> bool {
        false
    }

    /// Stops accepting, finishes what is in flight, and ends.
    async fn close(&self);
}
