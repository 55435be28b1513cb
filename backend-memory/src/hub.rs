//! Who waits for news of what.
//!
//! A watcher is woken only by changes to a service it named, so that a busy
//! service costs the watchers of the others nothing.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry_api::{Scope, ServiceName};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Hub(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Woken by everything.
    everything: HashMap<u64, Arc<Notify>>,
    by_service: HashMap<ServiceName, HashMap<u64, Arc<Notify>>>,
}

impl Hub {
    /// Waits for news of `scope` until the ticket is dropped.
    pub(crate) fn join(self: &Arc<Self>, scope: &Scope) -> Ticket {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let (id, news) = (waiting.next, Arc::new(Notify::new()));
        let services = match scope {
            Scope::Services(names) => names.clone(),
            _ => Vec::new(),
        };
        if services.is_empty() {
            waiting.everything.insert(id, Arc::clone(&news));
        }
        for name in &services {
            let watchers = waiting.by_service.entry(name.clone()).or_default();
            watchers.insert(id, Arc::clone(&news));
        }
        Ticket { hub: Arc::clone(self), id, services, news }
    }

    /// Wakes whoever waits for one of these services, or for everything.
    pub(crate) fn wake<'a>(&self, services: impl Iterator<Item = &'a ServiceName>) {
        let waiting = self.waiting();
        let mut woken = HashSet::new();
        for name in services {
            let Some(watchers) = waiting.by_service.get(name) else {
                continue;
            };
            if woken.insert(name) {
                watchers.values().for_each(|news| news.notify_one());
            }
        }
        // Also for changes of instances without offers, which have no service.
        waiting.everything.values().for_each(|news| news.notify_one());
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the hub; leaves when dropped.
pub(crate) struct Ticket {
    hub: Arc<Hub>,
    id: u64,
    services: Vec<ServiceName>,
    pub(crate) news: Arc<Notify>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.hub.waiting();
        waiting.everything.remove(&self.id);
        for name in &self.services {
            let Some(watchers) = waiting.by_service.get_mut(name) else {
                continue;
            };
            watchers.remove(&self.id);
            if watchers.is_empty() {
                waiting.by_service.remove(name);
            }
        }
    }
}

impl Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}
