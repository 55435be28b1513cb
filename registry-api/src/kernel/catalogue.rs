//! Who is there: declarations and presence, epochs and owners.
//!
//! A pure fold of commands. It knows no time: when an instance has been silent
//! for too long, somebody who knows says so with a [`Delist`] command.

use std::sync::Arc;

use super::change::{Change, Edit};
use super::command::Delist;
use super::cow_map::CowMap;
use super::lease_table::Judgement;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{InstanceId, Owner, ServiceName};
use crate::instance::{Cause, Health, Instance, InstanceRef, InstanceSpec, Presence};
use crate::lease::BeatOutcome;
use crate::query::{Query, Scope, View};
use crate::revision::{Epoch, Era, Revision};
use crate::service::{KeyHash, ServiceRecord};

/// Declarations and presence, as a pure fold of commands. A clone is an
/// immutable snapshot and costs a few reference counts.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(super) revision: Revision,
    pub(super) owners: CowMap<Owner, OwnerEntry>,
    pub(super) services: CowMap<ServiceName, Arc<ServiceRecord>>,
    instances: CowMap<InstanceId, Live>,
    members: CowMap<ServiceName, CowMap<InstanceId, Arc<Presence>>>,
}

/// What an owner has.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnerEntry {
    pub(super) keys: Arc<[KeyHash]>,
    pub(super) services: CowMap<ServiceName, ()>,
}

#[derive(Clone, Debug)]
struct Live {
    presence: Arc<Presence>,
    /// How often this life was connected: a proposal to delist that was made
    /// before the last connect is void.
    generation: u64,
}

/// What connecting one instance did.
struct Joined {
    presence: Arc<Presence>,
    edit: Option<Edit>,
}

impl Catalogue {
    /// An empty catalogue at revision 0 of `era`.
    pub fn new(era: Era) -> Self {
        Self {
            revision: Revision { era, number: 0 },
            owners: CowMap::new(),
            services: CowMap::new(),
            instances: CowMap::new(),
            members: CowMap::new(),
        }
    }

    /// A catalogue of these records, as they were stored.
    pub fn restore(
        revision: Revision,
        services: impl IntoIterator<Item = Arc<ServiceRecord>>,
        presences: impl IntoIterator<Item = Arc<Presence>>,
    ) -> Self {
        let mut catalogue = Self { revision, ..Self::new(revision.era) };
        services.into_iter().for_each(|record| catalogue.put_service(record));
        presences.into_iter().for_each(|presence| catalogue.put(&presence, 0));
        catalogue
    }

    /// A catalogue that goes on exactly as the one it was copied from, proposals
    /// to delist included: of these records, each with how often it had connected.
    pub fn resume(
        revision: Revision,
        services: impl IntoIterator<Item = Arc<ServiceRecord>>,
        lives: impl IntoIterator<Item = (Arc<Presence>, u64)>,
    ) -> Self {
        let mut catalogue = Self::restore(revision, services, []);
        lives.into_iter().for_each(|(presence, generation)| catalogue.put(&presence, generation));
        catalogue
    }

    /// Every live instance, and how often this life had connected.
    pub fn lives(&self) -> impl Iterator<Item = (&Arc<Presence>, u64)> {
        self.instances.iter().map(|(_, live)| (&live.presence, live.generation))
    }

    /// Every declaration.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceRecord>> {
        self.services.iter().map(|(_, record)| record)
    }

    /// The next write follows on this number.
    pub(super) fn stand_at(&mut self, number: u64) {
        self.revision.number = number;
    }

    /// Takes over a write that was decided elsewhere.
    pub fn fold(&mut self, change: &Change) {
        for edit in &change.edits {
            match edit {
                Edit::Instance { before, after, .. } => {
                    let id = after.as_ref().or(before.as_ref()).map(|presence| &presence.id);
                    if let Some(known) = id.and_then(|id| self.instances.remove(id)) {
                        self.leave_members(&known.presence);
                    }
                    if let Some(after) = after {
                        self.put(after, 0);
                    }
                }
                Edit::Service(record) => self.put_service(Arc::clone(record)),
                Edit::ServiceRemoved(name) => self.remove_service(name),
            }
        }
        self.revision = change.revision;
    }

    /// The revision of the last committed write.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The record of the live instance with this id.
    pub fn presence(&self, id: &InstanceId) -> Option<&Arc<Presence>> {
        Some(&self.instances.get(id)?.presence)
    }

    /// The command that delists this life of an instance, as it stands now.
    pub fn delist_command(&self, reference: &InstanceRef) -> Option<Delist> {
        let live = self.instances.get(&reference.id)?;
        (live.presence.epoch == reference.epoch).then(|| Delist {
            id: reference.id.clone(),
            epoch: reference.epoch,
            generation: live.generation,
        })
    }

    /// Joins or updates instances whose terms are granted already (R2, R3, R7).
    ///
    /// The answers are in order; the change is `None` if nothing changed.
    pub fn connect(
        &mut self,
        specs: &[InstanceSpec],
    ) -> (Vec<Result<Arc<Presence>>>, Option<Change>) {
        let next = self.revision.next();
        let mut edits = Vec::new();
        let mut answers = Vec::with_capacity(specs.len());
        for spec in specs {
            let joined = self.connect_one(spec, next);
            answers.push(joined.map(|joined| {
                edits.extend(joined.edit);
                joined.presence
            }));
        }
        (answers, self.commit(edits))
    }

    /// Removes instances whose holders leave; others are passed over (R6).
    pub fn disconnect(&mut self, instances: &[InstanceRef]) -> Option<Change> {
        let mut edits = Vec::new();
        for reference in instances {
            let live = self.instances.get(&reference.id);
            // A reference to a newer life than is live cannot come from the
            // holder of the live one; leaving is about one's own life only.
            if live.is_some_and(|live| live.presence.epoch == reference.epoch) {
                edits.extend(self.remove(&reference.id, Cause::Deregistered));
            }
        }
        self.commit(edits)
    }

    /// Lets lives go on: what was proposed about them before is void.
    pub fn renew(&mut self, lives: &[InstanceRef]) -> Vec<Result<Arc<Presence>, BeatOutcome>> {
        let renew = |reference: &InstanceRef| {
            let judgement = match self.instances.get(&reference.id) {
                None => Judgement::Gone,
                Some(live) if live.presence.epoch == reference.epoch => {
                    return Ok(self.reconnect(live.clone()).presence);
                }
                Some(live) => Judgement::OtherEpoch(live.presence.epoch),
            };
            Err(judgement.answer(reference.epoch))
        };
        lives.iter().map(renew).collect()
    }

    /// Removes instances that were silent for too long, unless they connected
    /// again since it was proposed.
    pub fn delist(&mut self, delists: &[Delist]) -> Option<Change> {
        let mut edits = Vec::new();
        for delist in delists {
            let live = self.instances.get(&delist.id);
            let meant = |live: &Live| {
                live.presence.epoch == delist.epoch && live.generation == delist.generation
            };
            if live.is_some_and(meant) {
                edits.extend(self.remove(&delist.id, Cause::Expired));
            }
        }
        self.commit(edits)
    }

    /// What `query` matches, each instance judged by `judge`: `None` hides it.
    pub fn view(&self, query: &Query, judge: impl Fn(&Presence) -> Option<Health>) -> Result<View> {
        let scope = &query.scope;
        let mut view = self.snapshot(scope, judge);
        check_found(scope, &view)?;
        view.instances.retain(|i| query.filter.matches(i, scope));
        Ok(view)
    }

    /// What is in `scope`, without a filter and without asking whether it is
    /// there: watching something that is not there yet is no error (W7).
    pub fn snapshot(&self, scope: &Scope, judge: impl Fn(&Presence) -> Option<Health>) -> View {
        View {
            revision: self.revision,
            services: self.declared(scope),
            instances: self.judged(scope, judge),
        }
    }

    fn connect_one(&mut self, spec: &InstanceSpec, next: Revision) -> Result<Joined> {
        let live = self.instances.get(&spec.id).cloned();
        let epoch = choose_epoch(spec, live.as_ref().map(|l| l.presence.epoch), next)?;
        let mut fresh = Presence::new(spec, epoch, next);
        let (before, generation) = match live {
            Some(live) if live.presence.epoch == epoch => {
                fresh.revision = live.presence.revision;
                if *live.presence == fresh {
                    return Ok(self.reconnect(live));
                }
                fresh.revision = next;
                (Some(live.presence), live.generation + 1)
            }
            live => (live.map(|live| live.presence), 0),
        };
        if let Some(before) = &before {
            self.leave_members(before);
        }
        let presence = Arc::new(fresh);
        self.put(&presence, generation);
        let edit = Edit::Instance {
            cause: match &before {
                Some(before) if before.epoch == epoch => Cause::Deregistered,
                Some(_) | None => Cause::Superseded,
            },
            before,
            after: Some(Arc::clone(&presence)),
        };
        Ok(Joined { presence, edit: Some(edit) })
    }

    /// The same data again: nothing to tell, but older proposals to delist are void.
    fn reconnect(&mut self, mut live: Live) -> Joined {
        live.generation += 1;
        let presence = Arc::clone(&live.presence);
        self.instances.insert(presence.id.clone(), live);
        Joined { presence, edit: None }
    }

    fn put(&mut self, presence: &Arc<Presence>, generation: u64) {
        for offer in presence.offers.iter() {
            if !self.members.contains_key(&offer.service) {
                self.members.insert(offer.service.clone(), CowMap::new());
            }
            if let Some(members) = self.members.get_mut(&offer.service) {
                members.insert(presence.id.clone(), Arc::clone(presence));
            }
        }
        let live = Live { presence: Arc::clone(presence), generation };
        self.instances.insert(presence.id.clone(), live);
    }

    fn remove(&mut self, id: &InstanceId, cause: Cause) -> Option<Edit> {
        let before = self.instances.remove(id)?.presence;
        self.leave_members(&before);
        Some(Edit::Instance { before: Some(before), after: None, cause })
    }

    fn leave_members(&mut self, presence: &Presence) {
        for offer in presence.offers.iter() {
            let Some(members) = self.members.get_mut(&offer.service) else {
                continue;
            };
            members.remove(&presence.id);
            if members.is_empty() {
                self.members.remove(&offer.service);
            }
        }
    }

    /// Gives the edits of one write their revision.
    pub(super) fn commit(&mut self, edits: Vec<Edit>) -> Option<Change> {
        if edits.is_empty() {
            return None;
        }
        self.revision = self.revision.next();
        Some(Change { revision: self.revision, edits })
    }

    fn declared(&self, scope: &Scope) -> Vec<Arc<ServiceRecord>> {
        match scope {
            Scope::All | Scope::Declarations => {
                self.services.iter().map(|(_, record)| Arc::clone(record)).collect()
            }
            Scope::Instance(_) => Vec::new(),
            Scope::Services(names) => {
                let mut found: Vec<_> = names.iter().filter_map(|n| self.services.get(n)).collect();
                found.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
                found.dedup_by(|a, b| a.spec.name == b.spec.name);
                found.into_iter().cloned().collect()
            }
        }
    }

    fn judged(&self, scope: &Scope, judge: impl Fn(&Presence) -> Option<Health>) -> Vec<Instance> {
        let judged = |presence: &Arc<Presence>| {
            let health = judge(presence)?;
            let presence = Arc::clone(presence);
            Some(Instance { presence, health })
        };
        match scope {
            Scope::Declarations => Vec::new(),
            Scope::All => {
                let live = self.instances.iter();
                live.filter_map(|(_, live)| judged(&live.presence)).collect()
            }
            Scope::Instance(id) => self.presence(id).and_then(judged).into_iter().collect(),
            Scope::Services(names) => {
                let members = names.iter().filter_map(|name| self.members.get(name));
                let mut found: Vec<_> = members
                    .flat_map(CowMap::iter)
                    .filter_map(|(_, presence)| judged(presence))
                    .collect();
                if names.len() > 1 {
                    found.sort_by(|a, b| a.id.cmp(&b.id));
                    found.dedup_by(|a, b| a.id == b.id);
                }
                found
            }
        }
    }
}

fn choose_epoch(spec: &InstanceSpec, live: Option<Epoch>, next: Revision) -> Result<Epoch> {
    let conflict = |live: Epoch| {
        Error::new(ErrorKind::Conflict, "a newer epoch of this id is live")
            .with("id", &spec.id)
            .with("live", live)
    };
    match (spec.epoch, live) {
        (Some(asked), Some(live)) if asked < live => Err(conflict(live)),
        (Some(asked), _) => Ok(asked),
        (None, None) => Ok(Epoch(next.number)),
        (None, Some(live)) => {
            let newer = live.0.checked_add(1).ok_or_else(|| conflict(live))?;
            Ok(Epoch(newer.max(next.number)))
        }
    }
}

fn check_found(scope: &Scope, view: &View) -> Result<()> {
    match scope {
        Scope::All | Scope::Declarations => Ok(()),
        Scope::Instance(id) if view.instances.is_empty() => {
            Err(Error::new(ErrorKind::NotFound, "no such instance").with("id", id))
        }
        Scope::Instance(_) => Ok(()),
        Scope::Services(names) => {
            let known = |name: &ServiceName| {
                view.service(name).is_some()
                    || view.instances.iter().any(|i| i.offer(name).is_some())
            };
            match names.iter().find(|name| !known(name)) {
                Some(name) => Err(Error::new(
                    ErrorKind::NotFound,
                    "the service has neither a declaration nor an instance",
                )
                .with("service", name)),
                None => Ok(()),
            }
        }
    }
}
