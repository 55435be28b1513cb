//! What the suite runs against.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::access::{Access, Credential};
use registry_api::{Clock, Info, LeaseTerms, Namespace, Owner, Registry, Result};

use crate::asked::Asked;
use crate::clock::ManualClock;
use crate::link::Link;

/// A backend, or a backend behind a wire.
#[async_trait]
pub trait Target: Debug + Send + Sync + 'static {
    /// The name in reports and filters, for example `memory` or `sqlite/grpc`.
    fn name(&self) -> &str;

    /// What it claims and how exact it is.
    fn info(&self) -> Info;

    /// A world of its own for one case. Called on the case's own runtime.
    async fn open(&self) -> Result<Box<dyn World>, Absent>;

    /// The same, on a backend that nobody else uses: it will be killed, or its
    /// clock will jump.
    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        self.open().await
    }
}

/// Why a target cannot be opened here.
#[derive(Clone, Debug)]
pub struct Absent(pub String);

/// One fresh deployment, for one case.
///
/// What a world cannot do it answers with `None`; a case that needs it is
/// reported as absent, never as passed.
#[async_trait]
pub trait World: Send + Sync + 'static {
    /// A new handle on a namespace, as another process would open it.
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>>;

    /// A handle on the default namespace for whoever shows this credential, where
    /// `access` is asked about everything: over the target's wire, if it has one.
    async fn handle_as(
        &self,
        access: Arc<dyn Access>,
        credential: Credential,
    ) -> Result<Arc<dyn Registry>> {
        let registry = self.handle(&Namespace::default()).await?;
        Ok(Arc::new(Asked::new(registry, access, credential)))
    }

    /// How time passes.
    fn pace(&self) -> Pace;

    /// The terms to ask for: the shortest that are still comfortable.
    fn terms(&self) -> LeaseTerms {
        LeaseTerms::new(Duration::from_secs(3), Duration::from_secs(9)).expect("ordered")
    }

    /// The connection between the handles and the backend, to be cut.
    fn link(&self) -> Option<&Link> {
        None
    }

    /// The most round trips that a batch of beats may cost here, as the link counts
    /// them. More where that counts at a socket over which answers come in pieces.
    fn beat_trips(&self) -> u64 {
        2
    }

    /// Opens handles from any thread and runtime, also while the case's own
    /// runtime is blocked; `None` where the backend lives on that runtime.
    fn handles(&self) -> Option<Arc<dyn Handles>> {
        None
    }

    /// Kills the backend the hard way and starts it again.
    async fn kill_and_restart(&self) -> Option<()> {
        None
    }

    /// The backend's own process and the network in front of it; `None` where the
    /// backend has neither.
    fn machine(&self) -> Option<&dyn Machine> {
        None
    }

    /// Writes a record nobody understands next to those of the default namespace.
    async fn plant_junk(&self) -> Option<()> {
        None
    }

    /// Makes the wall clocks of this process and the registry's jump.
    fn jump_wall_clock(&self, _seconds: i64) -> Option<()> {
        None
    }

    /// API keys on top of a handle; the facade's unless a mutant says otherwise.
    fn key_ring(&self, registry: Arc<dyn Registry>) -> Option<Box<dyn KeyRing>> {
        crate::cases::default_key_ring(registry)
    }
}

/// What can happen to the machine a backend runs on.
pub trait Machine: Send + Sync {
    /// The backend's process stands still, or goes on.
    fn freeze(&self, frozen: bool) -> Option<()>;

    /// The network forgets the connections that are open: they pass nothing on and
    /// do not break. New ones work.
    fn forget(&self);

    /// The network passes nothing on and breaks no connection, or works again.
    fn swallow(&self, swallowed: bool);
}

/// Handles on the default namespace of a world.
#[async_trait]
pub trait Handles: Send + Sync + 'static {
    /// One more, for the runtime it is opened on.
    async fn open(&self) -> Result<Arc<dyn Registry>>;
}

/// How time passes in a world.
#[derive(Clone, Debug)]
pub enum Pace {
    /// By hand.
    Manual(ManualClock),
    /// By itself.
    Real(Arc<dyn Clock>),
}

/// API keys as a gateway handles them.
#[async_trait]
pub trait KeyRing: Send + Sync {
    /// Gives the owner one more key and returns its text, once.
    async fn issue(&self, owner: &Owner) -> Result<String>;

    /// Takes a key away.
    async fn revoke(&self, owner: &Owner, key: &str) -> Result<()>;

    /// The policy of another gateway on the same registry.
    fn access(&self) -> Arc<dyn Access>;
}
