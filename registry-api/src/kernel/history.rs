//! What happened lately, and what watchers have been told about health.
//!
//! Bounded by the number of events, not of watchers: a watcher is a position in
//! it. Who falls behind its oldest entry gets a Reset.

use std::sync::Arc;

use super::change::{Change, Edit, HealthChange};
use super::cow_map::CowMap;
use crate::identity::{InstanceId, ServiceName};
use crate::instance::{Health, Presence};
use crate::revision::Revision;

/// The bounded past that watchers read. A clone is an immutable snapshot.
#[derive(Clone, Debug)]
pub struct History {
    entries: CowMap<u64, Arc<Entry>>,
    /// The position of the next entry.
    end: u64,
    /// Every commit after this revision is still here.
    floor: Revision,
    /// Instances whose watchers were told that they are offline.
    offline: CowMap<InstanceId, Arc<Presence>>,
    events: usize,
    capacity: usize,
}

/// One item watchers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A committed write.
    Commit(Change),
    /// Judgements, and the revision they were made at.
    Health(Revision, Vec<HealthChange>),
}

impl Entry {
    /// The number of events a watcher of everything sees, about.
    pub fn weight(&self) -> usize {
        match self {
            Self::Commit(change) => change.edits.len(),
            Self::Health(_, changes) => changes.len(),
        }
    }

    /// The services of everything it is about.
    pub(super) fn services(&self) -> Box<dyn Iterator<Item = &ServiceName> + '_> {
        match self {
            Self::Commit(change) => Box::new(change.edits.iter().flat_map(Edit::services)),
            Self::Health(_, changes) => Box::new(
                changes
                    .iter()
                    .flat_map(|change| change.presence.offers.iter())
                    .map(|offer| &offer.service),
            ),
        }
    }
}

impl History {
    /// An empty history after `floor` that keeps about `capacity` events.
    pub fn new(floor: Revision, capacity: usize) -> Self {
        Self { entries: CowMap::new(), end: 0, floor, offline: CowMap::new(), events: 0, capacity }
    }

    /// An empty history after `floor` whose next entry has this position, and
    /// whose watchers were told that these instances are offline.
    pub fn beginning(
        floor: Revision,
        position: u64,
        offline: impl IntoIterator<Item = Arc<Presence>>,
        capacity: usize,
    ) -> Self {
        let mut history = Self { end: position, ..Self::new(floor, capacity) };
        for presence in offline {
            history.offline.insert(presence.id.clone(), presence);
        }
        history
    }

    /// Puts older entries before those that are here; they begin after `floor`
    /// and reach to the oldest one without a gap.
    pub fn reach_back(&mut self, floor: Revision, entries: Vec<(u64, Entry)>) {
        for (position, entry) in entries {
            self.events += entry.weight();
            self.entries.insert(position, Arc::new(entry));
        }
        self.floor = floor;
        self.trim();
    }

    /// Every commit after this revision is here.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// Appends a committed write.
    pub fn commit(&mut self, change: Change) {
        self.append(Entry::Commit(change));
    }

    /// Appends judgements that changed; they have no revision of their own and
    /// repeat the last one.
    pub fn health(&mut self, revision: Revision, changes: Vec<HealthChange>) {
        if !changes.is_empty() {
            self.append(Entry::Health(revision, changes));
        }
    }

    /// Appends an entry, whatever it holds.
    pub(super) fn append(&mut self, entry: Entry) {
        match &entry {
            Entry::Commit(change) => self.note_alive(change),
            Entry::Health(_, changes) => changes.iter().for_each(|change| self.note(change)),
        }
        self.events += entry.weight();
        self.entries.insert(self.end, Arc::new(entry));
        self.end += 1;
        self.trim();
    }

    fn note_alive(&mut self, change: &Change) {
        for edit in &change.edits {
            if let Edit::Instance { before, after, .. } = edit {
                // Connecting renews the lease, so it tells "online" as well.
                let touched = before.as_ref().or(after.as_ref());
                if let Some(presence) = touched {
                    self.offline.remove(&presence.id);
                }
            }
        }
    }

    fn note(&mut self, change: &HealthChange) {
        let id = &change.presence.id;
        match change.health {
            Health::Online => self.offline.remove(id),
            Health::Offline => self.offline.insert(id.clone(), Arc::clone(&change.presence)),
        };
    }

    /// What watchers were told about this life.
    pub fn told(&self, presence: &Presence) -> Health {
        match self.offline.get(&presence.id) {
            Some(told) if told.epoch == presence.epoch => Health::Offline,
            Some(_) | None => Health::Online,
        }
    }

    /// Whether watchers were told that somebody is offline.
    pub fn tells_of_offline(&self) -> bool {
        !self.offline.is_empty()
    }

    /// The instances whose watchers were told that they are offline.
    pub(super) fn told_offline(&self) -> impl Iterator<Item = &Arc<Presence>> {
        self.offline.iter().map(|(_, presence)| presence)
    }

    /// The position after the newest entry.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether everything from `position` on is still here.
    pub(super) fn reaches(&self, position: u64) -> bool {
        let oldest = self.entries.first().map_or(self.end, |(oldest, _)| *oldest);
        (oldest..=self.end).contains(&position)
    }

    /// The entries from `position` on.
    pub(super) fn entries(&self, position: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let entries = self.entries.iter_from(&position);
        entries.map(|(position, entry)| (*position, &**entry))
    }

    /// The position of the first commit after `revision`, if all of them are here.
    pub(super) fn position_after(&self, revision: Revision) -> Option<u64> {
        if revision.era != self.floor.era || revision < self.floor {
            return None;
        }
        let newer = |(_, entry): &(u64, &Entry)| match entry {
            Entry::Commit(change) => change.revision > revision,
            Entry::Health(..) => false,
        };
        let found = self.entries(0).find(newer);
        Some(found.map_or(self.end, |(position, _)| position))
    }

    fn trim(&mut self) {
        // The newest entry stays even where it alone is over the capacity.
        while self.events > self.capacity && self.entries.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(position) = self.entries.first().map(|(position, _)| *position) else {
            return;
        };
        let Some(entry) = self.entries.remove(&position) else {
            return;
        };
        self.events -= entry.weight();
        if let Entry::Commit(change) = &*entry {
            self.floor = change.revision;
        }
    }
}
