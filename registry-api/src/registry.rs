//! The trait every backend, every wire's client and every decorator is.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::capability::Info;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Owner, ServiceName};
use crate::instance::{InstanceRef, InstanceSpec};
use crate::lease::{Beat, BeatOutcome, Lease};
use crate::query::{Query, Scope, View};
use crate::service::{Registration, ServiceRecord};
use crate::watch::{WatchFrom, WatchStream};

/// A service registry, seen through a handle bound to one namespace.
///
/// Object safe: `Arc<dyn Registry>` is the currency. The clauses named below
/// are those of `docs/SPEC.md`, each proved by the conformance suite. Every
/// method is cancel-safe in the sense that dropping its future leaves the
/// registry consistent; whether a write took effect is then unknown.
#[async_trait]
pub trait Registry: Debug + Send + Sync + 'static {
    /// Name, capabilities and limits: constant once the handle is open.
    fn info(&self) -> &Info;

    /// Declares services.
    ///
    /// - All of the registration happens or nothing does (R9).
    /// - The records carry the revision at which they last changed; an unchanged
    ///   declaration keeps its record and causes no event (R2).
    ///
    /// Errors: `AlreadyExists` names the owner or service that is taken.
    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>>;

    /// Withdraws declarations of `owner`. Undeclared names are passed over.
    ///
    /// Instances of the services stay until they leave or expire. Errors:
    /// `PermissionDenied` if one belongs to somebody else; nothing happens then.
    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()>;

    /// Joins with new instances, or updates present ones in place.
    ///
    /// - Entries are independent: one that fails leaves the others untouched (R7).
    /// - The same (id, epoch) updates and renews; a newer epoch supersedes; an
    ///   older one is refused with `Conflict` (R2, R3).
    /// - What succeeds together is one committed write (W1).
    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>>;

    /// Renews leases. One outcome per beat, in order (H1–H5).
    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>>;

    /// Leaves. Final and idempotent; unknown ids and older epochs are passed
    /// over (R6).
    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()>;

    /// Reads one snapshot, instances judged at the time of the read (V1–V3).
    ///
    /// Errors: `NotFound` only where a named service has neither declaration
    /// nor instance, or the named instance is not there (V2).
    async fn resolve(&self, query: &Query) -> Result<View>;

    /// Follows changes (W1–W10).
    ///
    /// Requires [`Capability::Resume`](crate::Capability::Resume) where `from`
    /// is a revision.
    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream>;
}

/// Conveniences on top of [`Registry`]; there is nothing to implement.
#[async_trait]
pub trait RegistryExt: Registry {
    /// [`connect`](Registry::connect) for one instance.
    async fn connect_one(&self, instance: InstanceSpec) -> Result<Lease> {
        only(self.connect(&[instance]).await?)?
    }

    /// [`heartbeat`](Registry::heartbeat) for one lease.
    async fn heartbeat_one(&self, beat: Beat) -> Result<BeatOutcome> {
        only(self.heartbeat(&[beat]).await?)
    }
}

impl<R: Registry + ?Sized> RegistryExt for R {}

/// The one answer to a batch of one.
fn only<T>(answers: Vec<T>) -> Result<T> {
    let mut answers = answers.into_iter();
    match (answers.next(), answers.next()) {
        (Some(answer), None) => Ok(answer),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            "the backend must answer a batch of one with one outcome",
        )),
    }
}
