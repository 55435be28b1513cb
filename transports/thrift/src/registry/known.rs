//! Which services an instance offers: whoever acts for it must be allowed to.

use std::sync::Arc;

use registry_api::{
    Epoch, ErrorKind, Instance, InstanceId, InstanceRef, Query, Registry, Result, ServiceName,
};

/// Read once per life of an instance and process: a life does not change hands.
#[derive(Clone, Debug)]
pub(super) struct Known(moka::sync::Cache<(InstanceId, Epoch), Arc<[ServiceName]>>);

impl Known {
    pub(super) fn new() -> Self {
        Self(moka::sync::Cache::new(1_000_000))
    }

    pub(super) fn connected(&self, id: &InstanceId, epoch: Epoch, services: Vec<ServiceName>) {
        self.0.insert((id.clone(), epoch), services.into());
    }

    pub(super) fn forget(&self, id: &InstanceId, epoch: Epoch) {
        self.0.invalidate(&(id.clone(), epoch));
    }

    /// The services of a life of an instance; `None` if that life is not live,
    /// and whoever acts for it acts for nobody.
    pub(super) async fn services(
        &self,
        registry: &dyn Registry,
        life: &InstanceRef,
    ) -> Result<Option<Arc<[ServiceName]>>> {
        let key = (life.id.clone(), life.epoch);
        if let Some(known) = self.0.get(&key) {
            return Ok(Some(known));
        }
        match live(registry, &life.id).await? {
            Some(found) if found.epoch == life.epoch => {
                let services: Arc<[_]> = found.offers.iter().map(|o| o.service.clone()).collect();
                self.0.insert(key, Arc::clone(&services));
                Ok(Some(services))
            }
            _ => Ok(None),
        }
    }
}

/// The live instance of an id.
pub(super) async fn live(registry: &dyn Registry, id: &InstanceId) -> Result<Option<Instance>> {
    match registry.resolve(&Query::instance(id.clone())).await {
        Ok(view) => Ok(view.instance(id).cloned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
