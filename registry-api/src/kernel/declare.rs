//! Declarations: the part of the [`Catalogue`] about owners and services.

use std::sync::Arc;

use super::catalogue::{Catalogue, OwnerEntry};
use super::change::{Change, Edit};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Owner, ServiceName};
use crate::limits::Limits;
use crate::service::{
    KeyChange, KeyHash, Registration, RegistrationMode, ServiceRecord, ServiceSpec,
};

impl Catalogue {
    /// Declares services: all of it, or nothing (R9).
    pub fn register(
        &mut self,
        registration: Registration,
    ) -> Result<(Vec<Arc<ServiceRecord>>, Option<Change>)> {
        self.check_free(&registration)?;
        self.check_keys(&registration)?;
        let known = self.owners.get(&registration.owner).cloned();
        let mut entry = known.unwrap_or_default();
        let keys = change_keys(&entry.keys, &registration.keys)?;
        let mut edits = Vec::new();

        if registration.mode == RegistrationMode::Replace {
            let kept = |name: &ServiceName| registration.services.iter().any(|s| s.name == *name);
            let gone: Vec<_> = entry.services.iter().map(|(name, ())| name.clone()).collect();
            for name in gone.into_iter().filter(|name| !kept(name)) {
                edits.extend(self.withdraw(&name, &mut entry));
            }
        }
        let names: Vec<_> = registration.services.iter().map(|s| s.name.clone()).collect();
        for spec in registration.services {
            entry.services.insert(spec.name.clone(), ());
            edits.extend(self.declare(spec, &registration.owner, &keys));
        }
        if keys != entry.keys {
            edits.extend(self.rekey(&entry, &names, &keys));
            entry.keys = keys;
        }
        self.put_owner(&registration.owner, entry);

        let records = names.iter().filter_map(|name| self.services.get(name));
        let records = records.cloned().collect();
        Ok((records, self.commit(edits)))
    }

    /// Withdraws declarations of `owner`; undeclared names are passed over.
    pub fn deregister(
        &mut self,
        owner: &Owner,
        services: &[ServiceName],
    ) -> Result<Option<Change>> {
        let foreign = |name: &&ServiceName| {
            self.services.get(*name).is_some_and(|record| record.owner != *owner)
        };
        if let Some(name) = services.iter().find(foreign) {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                "the service belongs to another owner",
            )
            .with("service", name));
        }
        let Some(mut entry) = self.owners.get(owner).cloned() else {
            return Ok(None);
        };
        let mut edits = Vec::new();
        for name in services {
            edits.extend(self.withdraw(name, &mut entry));
        }
        self.put_owner(owner, entry);
        Ok(self.commit(edits))
    }

    /// Whether the names are free for this owner in this mode.
    fn check_free(&self, registration: &Registration) -> Result<()> {
        let create = registration.mode == RegistrationMode::Create;
        if create && self.owners.contains_key(&registration.owner) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "the owner has declared services already",
            )
            .with("owner", &registration.owner));
        }
        let taken = |spec: &&ServiceSpec| {
            let record = self.services.get(&spec.name);
            record.is_some_and(|record| create || record.owner != registration.owner)
        };
        match registration.services.iter().find(taken) {
            Some(spec) => {
                Err(Error::new(ErrorKind::AlreadyExists, "the service is declared already")
                    .with("service", &spec.name))
            }
            None => Ok(()),
        }
    }

    /// A key that would be gone at once is refused, not lost.
    fn check_keys(&self, registration: &Registration) -> Result<()> {
        let merge = registration.mode == RegistrationMode::Merge;
        let stays = merge && self.owners.contains_key(&registration.owner);
        match registration.keys {
            KeyChange::Add(_) if registration.services.is_empty() && !stays => {
                Err(Error::invalid("keys", "must belong to an owner with at least one service"))
            }
            KeyChange::Add(_) | KeyChange::Keep | KeyChange::Revoke(_) => Ok(()),
        }
    }

    /// Puts a declaration; an unchanged one keeps its record.
    fn declare(&mut self, spec: ServiceSpec, owner: &Owner, keys: &Arc<[KeyHash]>) -> Option<Edit> {
        let live = self.services.get(&spec.name);
        if live.is_some_and(|live| live.spec == spec && live.keys == *keys) {
            return None;
        }
        let record = Arc::new(ServiceRecord {
            spec,
            owner: owner.clone(),
            keys: Arc::clone(keys),
            revision: self.revision.next(),
        });
        self.services.insert(record.spec.name.clone(), Arc::clone(&record));
        Some(Edit::Service(record))
    }

    /// Puts a record that was decided elsewhere.
    pub(super) fn put_service(&mut self, record: Arc<ServiceRecord>) {
        let mut entry = self.owners.get(&record.owner).cloned().unwrap_or_default();
        entry.keys = Arc::clone(&record.keys);
        entry.services.insert(record.spec.name.clone(), ());
        self.owners.insert(record.owner.clone(), entry);
        self.services.insert(record.spec.name.clone(), record);
    }

    /// Takes a record away, as was decided elsewhere.
    pub(super) fn remove_service(&mut self, name: &ServiceName) {
        let Some(record) = self.services.remove(name) else {
            return;
        };
        if let Some(mut entry) = self.owners.get(&record.owner).cloned() {
            entry.services.remove(name);
            self.put_owner(&record.owner, entry);
        }
    }

    fn withdraw(&mut self, name: &ServiceName, entry: &mut OwnerEntry) -> Option<Edit> {
        entry.services.remove(name)?;
        self.services.remove(name)?;
        Some(Edit::ServiceRemoved(name.clone()))
    }

    /// Gives the owner's other services, which `named` are not, the new keys.
    fn rekey(
        &mut self,
        entry: &OwnerEntry,
        named: &[ServiceName],
        keys: &Arc<[KeyHash]>,
    ) -> Vec<Edit> {
        let others = entry.services.iter().filter(|(name, ())| !named.contains(name));
        let mut edits = Vec::new();
        for (name, ()) in others {
            let Some(live) = self.services.get(name) else {
                continue;
            };
            let (spec, owner) = (live.spec.clone(), live.owner.clone());
            edits.extend(self.declare(spec, &owner, keys));
        }
        edits
    }

    /// An owner exists as long as it has a service.
    fn put_owner(&mut self, owner: &Owner, entry: OwnerEntry) {
        if entry.services.is_empty() {
            self.owners.remove(owner);
        } else {
            self.owners.insert(owner.clone(), entry);
        }
    }
}

fn change_keys(keys: &Arc<[KeyHash]>, change: &KeyChange) -> Result<Arc<[KeyHash]>> {
    match change {
        KeyChange::Keep => Ok(Arc::clone(keys)),
        KeyChange::Add(key) if keys.contains(key) => Ok(Arc::clone(keys)),
        KeyChange::Add(_) if keys.len() >= Limits::MAX_KEYS => Err(Error::new(
            ErrorKind::Conflict,
            "the owner has two live keys already; revoke one first",
        )
        .with("field", "keys")),
        KeyChange::Add(key) => Ok(keys.iter().copied().chain([*key]).collect()),
        KeyChange::Revoke(key) => Ok(keys.iter().copied().filter(|k| k != key).collect()),
    }
}
