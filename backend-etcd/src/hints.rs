//! What beats know of instances, so that they need not ask first.
//!
//! Only ever a hint: every beat reads the record too, and what that says counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use registry_api::{Epoch, InstanceId, Presence, ServiceName};

use crate::leases::Pair;
use crate::load::Found;
use crate::record::seconds;

/// What was last known of the instances that this process connected or beat for.
#[derive(Debug, Default)]
pub(crate) struct Hints(Mutex<HashMap<InstanceId, Hint>>);

/// What a beat has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) epoch: Epoch,
    pub(crate) services: Vec<ServiceName>,
    pub(crate) leases: Pair,
    /// Of the lease that says it is online, where that is one of its own.
    pub(crate) seconds: Option<i64>,
}

/// The most that are kept; a process that beats for more asks again sometimes.
const MOST: usize = 100_000;

impl Hints {
    pub(crate) fn get(&self, id: &InstanceId) -> Option<Hint> {
        self.locked().get(id).cloned()
    }

    pub(crate) fn set(&self, id: InstanceId, hint: Hint) {
        let mut hints = self.locked();
        if hints.len() >= MOST && !hints.contains_key(&id) {
            hints.clear();
        }
        hints.insert(id, hint);
    }

    pub(crate) fn forget(&self, id: &InstanceId) {
        self.locked().remove(id);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<InstanceId, Hint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hint {
    pub(crate) fn of(presence: &Presence, leases: Pair) -> Self {
        let services = presence.offers.iter().map(|offer| offer.service.clone()).collect();
        Self::new(presence, services, leases)
    }

    fn new(presence: &Presence, services: Vec<ServiceName>, leases: Pair) -> Self {
        Self { epoch: presence.epoch, services, leases, seconds: seconds(presence.terms).1 }
    }

    /// The same, online on another lease.
    pub(crate) fn revived(mut self, lease: i64) -> Self {
        self.leases.alive = Some(lease);
        self
    }
}

impl From<&Found> for Hint {
    fn from(found: &Found) -> Self {
        Self::new(&found.presence, found.services.clone(), found.leases)
    }
}
