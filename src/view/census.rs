//! What all services that are followed say together about the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry_api::ServiceName;
use registry_api::kernel::Evidence;
use tokio::sync::watch;

/// The evidence of every followed service of a client.
#[derive(Debug)]
pub(super) struct Census {
    services: Mutex<Services>,
    /// Counts the reports that condemn the registry: everybody judges again.
    alarms: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Services {
    each: HashMap<ServiceName, Evidence>,
    sum: Evidence,
}

/// One service's part in a [`Census`]; leaves it when dropped.
pub(super) struct Reporter {
    census: Arc<Census>,
    service: ServiceName,
    pub(super) alarms: watch::Receiver<u64>,
}

impl Census {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { services: Mutex::default(), alarms: watch::Sender::new(0) })
    }

    pub(super) fn reporter(self: &Arc<Self>, service: ServiceName) -> Reporter {
        Reporter { alarms: self.alarms.subscribe(), census: Arc::clone(self), service }
    }

    fn lock(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Says how it stands with this service, and learns how with all others.
    pub(super) fn report(&self, evidence: Evidence) -> Evidence {
        let mut services = self.census.lock();
        let before = services.each.insert(self.service.clone(), evidence);
        let others = services.sum.without(before.unwrap_or_default());
        services.sum = others.and(evidence);
        drop(services);
        if before != Some(evidence) && others.and(evidence).condemns_for_all() {
            self.census.alarms.send_modify(|count| *count += 1);
        }
        others
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut services = self.census.lock();
        let last = services.each.remove(&self.service).unwrap_or_default();
        services.sum = services.sum.without(last);
    }
}
