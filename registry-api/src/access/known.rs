//! Which services an instance offers: whoever acts for it must be allowed to.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{ErrorKind, Result};
use crate::identity::{InstanceId, ServiceName};
use crate::instance::{Instance, InstanceRef, Offer};
use crate::query::Query;
use crate::registry::Registry;
use crate::revision::Epoch;

/// Read once per life of an instance and process: a life does not change hands.
#[derive(Default)]
pub(super) struct Known(Mutex<Generations>);

type Lives = HashMap<(InstanceId, Epoch), Arc<[ServiceName]>>;

/// What was asked for lately, and what before: a full generation pushes out the
/// one before it, so what nobody asks for is forgotten and memory is bounded.
#[derive(Default)]
struct Generations {
    young: Lives,
    old: Lives,
}

/// The most lives of one generation.
const ROOM: usize = 500_000;

impl Generations {
    fn insert(&mut self, key: (InstanceId, Epoch), services: Arc<[ServiceName]>) {
        if self.young.len() >= ROOM {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, services);
    }

    fn find(&mut self, key: &(InstanceId, Epoch)) -> Option<Arc<[ServiceName]>> {
        if let Some(found) = self.young.get(key) {
            return Some(Arc::clone(found));
        }
        let (key, found) = self.old.remove_entry(key)?;
        self.insert(key, Arc::clone(&found));
        Some(found)
    }
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connected(&self, id: &InstanceId, epoch: Epoch, services: Vec<ServiceName>) {
        self.lock().insert((id.clone(), epoch), services.into());
    }

    pub(super) fn forget(&self, id: &InstanceId, epoch: Epoch) {
        let key = (id.clone(), epoch);
        let mut known = self.lock();
        known.young.remove(&key);
        known.old.remove(&key);
    }

    /// The services of a life of an instance; `None` if that life is not live,
    /// and whoever acts for it acts for nobody.
    pub(super) async fn services(
        &self,
        registry: &dyn Registry,
        life: &InstanceRef,
    ) -> Result<Option<Arc<[ServiceName]>>> {
        let key = (life.id.clone(), life.epoch);
        let known = self.lock().find(&key);
        if known.is_some() {
            return Ok(known);
        }
        match live(registry, &life.id).await? {
            Some(found) if found.epoch == life.epoch => {
                let services: Arc<[_]> = services_of(&found.offers).into();
                self.lock().insert(key, Arc::clone(&services));
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

pub(super) fn services_of(offers: &[Offer]) -> Vec<ServiceName> {
    offers.iter().map(|offer| offer.service.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_room_is_bounded() {
        let known = Known::default();
        let id = |n: usize| InstanceId::parse(&n.to_string()).unwrap();
        known.connected(&id(0), Epoch(1), Vec::new());
        for n in 1..=2 * ROOM {
            known.connected(&id(n), Epoch(1), Vec::new());
            if n == ROOM {
                assert!(known.lock().find(&(id(0), Epoch(1))).is_some());
            }
        }
        let mut kept = known.lock();
        assert!(kept.young.len() + kept.old.len() <= 2 * ROOM);
        assert!(kept.find(&(id(0), Epoch(1))).is_some(), "it was asked for");
        assert!(kept.find(&(id(1), Epoch(1))).is_none());
    }
}
