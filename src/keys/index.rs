//! Declarations turned around: from a key to what it opens.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use registry_api::{KeyHash, Owner, Revision, ServiceName, ServiceRecord};

/// An immutable index of one revision.
#[derive(Debug, Default)]
pub(super) struct Index {
    revision: Option<Revision>,
    keys: HashMap<KeyHash, Holder>,
}

/// Who a key belongs to.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) owner: Owner,
    pub(super) services: HashSet<ServiceName>,
}

impl Index {
    pub(super) fn new<'a>(
        revision: Option<Revision>,
        records: impl Iterator<Item = &'a Arc<ServiceRecord>>,
    ) -> Self {
        let mut keys: HashMap<KeyHash, Holder> = HashMap::new();
        for record in records {
            for key in record.keys.iter() {
                let holder = keys.entry(*key).or_insert_with(|| Holder {
                    owner: record.owner.clone(),
                    services: HashSet::new(),
                });
                holder.services.insert(record.spec.name.clone());
            }
        }
        Self { revision, keys }
    }

    pub(super) fn holder(&self, key: &KeyHash) -> Option<&Holder> {
        self.keys.get(key)
    }

    /// Whether no owner with keys has declared a service.
    pub(super) fn is_free(&self, service: &ServiceName) -> bool {
        !self.keys.values().any(|holder| holder.services.contains(service))
    }

    /// Whether this one may take the place of `other`: not older within an era.
    pub(super) fn may_replace(&self, other: &Self) -> bool {
        match (self.revision, other.revision) {
            (Some(new), Some(old)) => new.era != old.era || new >= old,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
