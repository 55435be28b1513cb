//! Who may connect, and what becomes of it in the registry: the gateway's say.

use std::fmt::Debug;

use async_trait::async_trait;
use registry_api::access::Credential;
use registry_api::{InstanceSpec, Result, ServiceName};

/// Decides about services that come to a gateway.
#[async_trait]
pub trait Reception: Debug + Send + Sync + 'static {
    /// Whether whoever shows this may be this instance. Its offers may be none:
    /// a service that only calls others.
    ///
    /// Errors: `Unauthenticated`, `PermissionDenied`, `Unavailable`.
    async fn admit(&self, credential: &Credential, instance: &InstanceSpec) -> Result<()>;

    /// Whether it may still serve these, or call others if they are none. Asked
    /// every few seconds: a key may be revoked (R10).
    ///
    /// Errors: those of [`admit`](Self::admit).
    async fn may_stay(&self, credential: &Credential, services: &[ServiceName]) -> Result<()>;

    /// Joins with a connection that was admitted, until what is returned is
    /// dropped. Its service is told that it is connected once this returns, so it
    /// waits for a registry that answers, and not for one that does not.
    async fn join(&self, instance: InstanceSpec) -> Box<dyn Presence>;

    /// Takes note of a service that can be dialled, for as long as it says so
    /// again and again.
    ///
    /// Errors: those of [`admit`](Self::admit), and `InvalidArgument` for an
    /// address that may not be dialled.
    async fn register(&self, credential: &Credential, instance: InstanceSpec) -> Result<()>;
}

/// An instance that stays in the registry until this is dropped.
#[async_trait]
pub trait Presence: Send + 'static {
    /// Returns once another life of the instance is there, on another gateway for
    /// example. Cancel-safe.
    async fn superseded(&mut self);
}
