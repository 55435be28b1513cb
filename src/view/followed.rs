//! What is known of a service at one moment.

use std::sync::Arc;

use registry_api::kernel::{Hold, Replica};
use registry_api::{Health, Instance, InstanceId, Phase, Revision, ServiceRecord};

/// A service as its followers know it: one immutable snapshot.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Followed {
    /// The revision; `None` before the first answer of the registry.
    pub revision: Option<Revision>,
    /// The declaration, if there is one.
    pub service: Option<Arc<ServiceRecord>>,
    /// Everybody who is listed or held, by id.
    pub instances: Vec<Instance>,
    /// Those of them that went offline or were delisted together with so many
    /// others that the registry is doubted rather than they: they are still
    /// picked.
    pub held: Vec<InstanceId>,
}

impl Followed {
    pub(super) fn new(replica: &Replica, hold: &Hold) -> Self {
        let listed = replica.instances();
        let mut instances: Vec<_> = listed.values().cloned().collect();
        let delisted = hold.held().filter(|held| !listed.contains_key(&held.id));
        instances.extend(delisted.cloned());
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        Self {
            revision: replica.revision(),
            service: replica.services().values().next().cloned(),
            instances,
            held: hold.held().map(|held| held.id.clone()).collect(),
        }
    }

    /// Whether an instance is held.
    pub fn is_held(&self, id: &InstanceId) -> bool {
        self.held.binary_search(id).is_ok()
    }

    /// Whether the registry knows neither a declaration nor an instance. False
    /// before its first answer.
    pub fn is_unknown(&self) -> bool {
        self.revision.is_some() && self.service.is_none() && self.instances.is_empty()
    }

    /// Who may be picked of those that fit: ready before draining, online or held.
    pub(crate) fn pickable(&self, fits: impl Fn(&Instance) -> bool) -> Vec<&Instance> {
        let of = |phase: Phase| {
            let lives = |i: &Instance| i.health == Health::Online || self.is_held(&i.id);
            let of_these = self.instances.iter().filter(|i| i.phase == phase);
            of_these.filter(|i| lives(i) && fits(i)).collect::<Vec<_>>()
        };
        let ready = of(Phase::Ready);
        if ready.is_empty() { of(Phase::Draining) } else { ready }
    }
}
