//! The one handle of a service: join, follow, leave.

use std::sync::Arc;

use registry_api::{Clock, InstanceSpec, Registry, Result, ServiceName};

use crate::clock::SystemClock;
use crate::follow::ServiceView;
use crate::membership::{Driver, Membership};
use crate::open::open;

/// A handle on a registry for services and callers. Cloning shares it.
///
/// All memberships of a client share one task, which connects and beats for
/// them in batches. They live until they leave or are dropped, also after the
/// client itself is gone.
#[derive(Clone, Debug)]
pub struct Client {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    driver: Driver,
}

impl Client {
    /// A client of the registry a URL names; see [`open`].
    pub async fn open(url: &str) -> Result<Self> {
        Ok(Self::new(open(url).await?, Arc::new(SystemClock)))
    }

    /// A client of an open registry. `clock` times beats and retries.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: it beats from a task of its own.
    pub fn new(registry: Arc<dyn Registry>, clock: Arc<dyn Clock>) -> Self {
        let driver = Driver::start(Arc::clone(&registry), Arc::clone(&clock));
        Self { registry, clock, driver }
    }

    /// Joins with an instance and keeps it joined: beats, reconnects for ever.
    pub fn join(&self, instance: InstanceSpec) -> Membership {
        self.driver.join(instance)
    }

    /// Follows a service, to pick from.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn follow(&self, service: &ServiceName) -> ServiceView {
        let (registry, clock) = (Arc::clone(&self.registry), Arc::clone(&self.clock));
        ServiceView::follow(registry, clock, service)
    }

    /// The registry itself.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }
}
