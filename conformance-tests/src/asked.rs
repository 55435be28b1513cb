//! A registry of this process for somebody who has to prove who he is.

use std::sync::Arc;

use async_trait::async_trait;
use registry_api::access::{Access, Asker, Credential, Desk};
use registry_api::{
    Beat, BeatOutcome, Info, InstanceRef, InstanceSpec, Lease, Namespace, Owner, Query,
    Registration, Registry, Result, Scope, ServiceName, ServiceRecord, View, WatchFrom,
    WatchStream,
};

/// A handle through a desk, as a wire has one on the other side.
#[derive(Debug)]
pub(crate) struct Asked {
    info: Info,
    desk: Desk,
    credential: Credential,
}

impl Asked {
    /// Asks `access` about every verb.
    pub(crate) fn new(
        registry: Arc<dyn Registry>,
        access: Arc<dyn Access>,
        credential: Credential,
    ) -> Self {
        let info = registry.info().clone();
        let desk = Desk::new(access).with_namespace(Namespace::default(), registry);
        Self { info, desk, credential }
    }

    fn asker(&self) -> Result<Asker<'_>> {
        self.desk.asker(&Namespace::default(), self.credential.clone())
    }
}

#[async_trait]
impl Registry for Asked {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.asker()?.register(registration).await
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.asker()?.deregister(owner, services).await
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        self.asker()?.connect(instances.iter().cloned().map(Ok).collect()).await
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.asker()?.heartbeat(beats).await
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.asker()?.disconnect(instances).await
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.asker()?.resolve(query).await
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        self.asker()?.watch(scope, from).await
    }
}
