//! A registry with one defect: everything else is forwarded.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::{
    Beat, BeatOutcome, Info, InstanceRef, InstanceSpec, Lease, Owner, Query, Registration,
    Registry, Result, Scope, ServiceName, ServiceRecord, View, WatchFrom, WatchStream,
};

/// What is wrong: overrides what it breaks, forwards the rest.
#[async_trait]
pub trait Defect: Debug + Send + Sync + 'static {
    /// A broken connect.
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        inner.connect(instances).await
    }

    /// A broken heartbeat.
    async fn heartbeat(
        &self,
        inner: &Arc<dyn Registry>,
        beats: &[Beat],
    ) -> Result<Vec<BeatOutcome>> {
        inner.heartbeat(beats).await
    }

    /// A broken disconnect.
    async fn disconnect(&self, inner: &Arc<dyn Registry>, left: &[InstanceRef]) -> Result<()> {
        inner.disconnect(left).await
    }

    /// A broken resolve.
    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        inner.resolve(query).await
    }

    /// A broken watch.
    async fn watch(
        &self,
        inner: &Arc<dyn Registry>,
        scope: &Scope,
        from: WatchFrom,
    ) -> Result<WatchStream> {
        inner.watch(scope, from).await
    }
}

/// A correct registry, spoilt.
#[derive(Debug)]
pub struct Flawed {
    inner: Arc<dyn Registry>,
    defect: Arc<dyn Defect>,
}

impl Flawed {
    /// Plants `defect` into `inner`.
    pub fn new(inner: Arc<dyn Registry>, defect: Arc<dyn Defect>) -> Self {
        Self { inner, defect }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Flawed {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.inner.register(registration).await
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.inner.deregister(owner, services).await
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        self.defect.connect(&self.inner, instances).await
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.defect.heartbeat(&self.inner, beats).await
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.defect.disconnect(&self.inner, instances).await
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.defect.resolve(&self.inner, query).await
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        self.defect.watch(&self.inner, scope, from).await
    }
}
