//! The records a write or a beat is about.

use std::collections::HashMap;
use std::sync::Arc;

use etcd_client::KeyValue;
use registry_api::kernel::{State, Stored};
use registry_api::{InstanceId, Presence, Revision, ServiceName};

use crate::fault::Failed;
use crate::leases::Pair;
use crate::read::{Wanted, era_of, mod_revision};
use crate::record::{self, Holder, Offered};
use crate::store::{Store, no_era};

/// Instances as they stand.
pub(crate) struct Instances {
    pub(crate) revision: Revision,
    /// Those that are there.
    pub(crate) found: HashMap<InstanceId, Found>,
    /// The revisions of what is there and cannot be understood.
    pub(crate) junk: HashMap<InstanceId, u64>,
}

/// An instance that is there.
pub(crate) struct Found {
    pub(crate) presence: Arc<Presence>,
    /// What its record says it offers, whether that is there or not.
    pub(crate) services: Vec<ServiceName>,
    pub(crate) leases: Pair,
    /// The revision of its record, which every write about it changes.
    pub(crate) revision: u64,
}

impl Store {
    /// The instances with these ids.
    pub(crate) async fn instances(&self, ids: &[InstanceId]) -> Result<Instances, Failed> {
        let mut keys = vec![(self.keys.era(), Wanted::Value)];
        keys.extend(ids.iter().map(|id| (self.keys.id(id), Wanted::Value)));
        let answered = self.get(&keys).await?;
        let mut kvs = answered.kvs.into_iter();
        let era = kvs.next().flatten().as_ref().and_then(era_of);
        let era = era.ok_or_else(|| Failed::Refused(no_era()))?;
        let mut instances = Instances {
            revision: Revision { era, number: answered.revision },
            found: HashMap::new(),
            junk: HashMap::new(),
        };
        let mut holders = Vec::new();
        for (id, kv) in ids.iter().zip(kvs) {
            let Some(kv) = kv else { continue };
            match record::read::<Holder>(kv.value()) {
                Some(holder) => holders.push((id, holder, kv)),
                None => drop(instances.junk.insert(id.clone(), mod_revision(&kv))),
            }
        }
        if !holders.is_empty() {
            self.complete(&mut instances, holders).await?;
        }
        Ok(instances)
    }

    /// Adds what they offer, and whether they are online.
    async fn complete(
        &self,
        instances: &mut Instances,
        holders: Vec<(&InstanceId, Holder, KeyValue)>,
    ) -> Result<(), Failed> {
        let mut keys = Vec::new();
        for (id, holder, _) in &holders {
            keys.push((self.keys.alive(id), Wanted::Presence));
            let offers = holder.services.iter().map(|service| self.keys.offer(service, id));
            keys.extend(offers.map(|key| (key, Wanted::Value)));
        }
        let mut kvs = self.get(&keys).await?.kvs.into_iter();
        for (id, holder, kv) in holders {
            let alive = kvs.next().flatten().map(|kv| kv.lease());
            let mut offers: HashMap<ServiceName, Offered> = HashMap::new();
            for service in &holder.services {
                let offered = kvs.next().flatten().and_then(|kv| record::read(kv.value()));
                offers.extend(offered.map(|offered| (service.clone(), offered)));
            }
            let revision = mod_revision(&kv);
            let at = Revision { era: instances.revision.era, number: revision };
            let presence = Arc::new(holder.presence(id, at, |service| offers.get(service)));
            let leases = Pair { presence: kv.lease(), alive };
            let services = holder.services;
            instances.found.insert(id.clone(), Found { presence, services, leases, revision });
        }
        Ok(())
    }
}

impl Instances {
    /// A small registry of them, for the kernel to decide on.
    pub(crate) fn state(&self) -> State {
        let presences = self
            .found
            .values()
            .map(|found| (Arc::clone(&found.presence), record::health(found.presence.terms, true)));
        let stored = Stored {
            revision: self.revision,
            position: 0,
            services: Vec::new(),
            presences: presences.collect(),
        };
        State::restore(stored, usize::MAX)
    }

    /// The revision of an instance's record, 0 where there is none.
    pub(crate) fn revision_of(&self, id: &InstanceId) -> u64 {
        let junk = || self.junk.get(id).copied().unwrap_or_default();
        self.found.get(id).map_or_else(junk, |found| found.revision)
    }
}
