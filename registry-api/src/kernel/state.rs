//! A catalogue and its history as one value: what a process publishes.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::change::{Change, HealthChange};
use super::command::{Command, Delist, Outcome};
use super::cursor::Cursor;
use super::history::{Entry, History};
use super::lease_table::{Judgement, LeaseTable, Transition};
use crate::error::Result;
use crate::identity::ServiceName;
use crate::instance::{Health, InstanceRef, Presence};
use crate::query::{Query, Scope, View};
use crate::revision::{Era, Revision};
use crate::service::ServiceRecord;
use crate::time::Timestamp;
use crate::watch::{WatchFrom, WatchItem};

/// What a process publishes: a catalogue and its history. A clone is an immutable
/// snapshot and costs a few reference counts, so a writer works on a clone and
/// swaps it in.
#[derive(Clone, Debug)]
pub struct State {
    catalogue: Catalogue,
    history: History,
}

/// What a store holds of a registry, or of the part of it a write is about.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The revision of the last committed write.
    pub revision: Revision,
    /// The position of the next entry of the history.
    pub position: u64,
    /// Declarations.
    pub services: Vec<Arc<ServiceRecord>>,
    /// Instances, and what watchers were last told of their health.
    pub presences: Vec<(Arc<Presence>, Health)>,
}

impl State {
    /// A state as it was stored. Its history is empty and keeps about `capacity`
    /// events.
    pub fn restore(stored: Stored, capacity: usize) -> Self {
        let offline = stored.presences.iter().filter(|(_, told)| *told == Health::Offline);
        let offline: Vec<_> = offline.map(|(presence, _)| Arc::clone(presence)).collect();
        let presences = stored.presences.into_iter().map(|(presence, _)| presence);
        let catalogue = Catalogue::restore(stored.revision, stored.services, presences);
        let history = History::beginning(stored.revision, stored.position, offline, capacity);
        Self { catalogue, history }
    }

    /// Takes over what another process wrote.
    pub fn fold(&mut self, entry: Entry) {
        if let Entry::Commit(change) = &entry {
            self.catalogue.fold(change);
        }
        self.history.append(entry);
    }

    /// The entries of the history from `position` on.
    pub fn entries(&self, position: u64) -> impl Iterator<Item = (u64, &Entry)> {
        self.history.entries(position)
    }

    /// The position of the next entry of the history.
    pub fn position(&self) -> u64 {
        self.history.end()
    }

    /// The history: what watchers can still be told.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Makes the history longer at its old end; see [`History::reach_back`].
    pub fn reach_back(&mut self, floor: Revision, entries: Vec<(u64, Entry)>) {
        self.history.reach_back(floor, entries);
    }

    /// An empty registry whose history keeps about `capacity` events.
    pub fn new(era: Era, capacity: usize) -> Self {
        Self::beginning(Catalogue::new(era), 0, capacity)
    }

    /// Who is there.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Applies a write.
    pub fn write(&mut self, command: Command) -> Outcome {
        let done = self.catalogue.apply(command);
        self.tell(done)
    }

    /// Applies the write at `place` of a log; see [`Catalogue::apply_at`].
    pub fn write_at(&mut self, place: u64, command: Command) -> Outcome {
        let done = self.catalogue.apply_at(place, command);
        self.tell(done)
    }

    fn tell(&mut self, (outcome, change): (Outcome, Option<Change>)) -> Outcome {
        if let Some(change) = change {
            self.history.commit(change);
        }
        match &outcome {
            Outcome::Connected(answers) => self.tell_online(answers.iter().flatten()),
            Outcome::Renewed(answers) => self.tell_online(answers.iter().flatten()),
            Outcome::Done(_) | Outcome::Registered(_) => {}
        }
        outcome
    }

    /// Connecting is a sign of life also where it changed no data.
    fn tell_online<'a>(&mut self, connected: impl Iterator<Item = &'a Arc<Presence>>) {
        let back = connected.filter(|presence| self.history.told(presence) == Health::Offline);
        let changes: Vec<_> = back
            .map(|presence| HealthChange { presence: Arc::clone(presence), health: Health::Online })
            .collect();
        self.history.health(self.catalogue.revision(), changes);
    }

    /// Takes over what a sweep found: delists who is gone, tells who is offline
    /// or online again. Returns whether anything was told.
    pub fn settle(&mut self, transitions: Vec<Transition>) -> bool {
        let (told, delists) = self.propose(transitions);
        let news = told || !delists.is_empty();
        if !delists.is_empty() {
            self.write(Command::Delist(delists));
        }
        news
    }

    /// Takes over what a sweep found where others decide who is delisted: tells
    /// who is offline or online again, and proposes the rest. Returns whether
    /// anything was told, and the proposal.
    pub fn propose(&mut self, transitions: Vec<Transition>) -> (bool, Vec<Delist>) {
        let mut delists = Vec::new();
        let mut judged = Vec::new();
        for transition in transitions {
            match transition {
                Transition::Gone(reference) => {
                    delists.extend(self.catalogue.delist_command(&reference));
                }
                Transition::Offline(of) => judged.extend(self.judged(&of, Health::Offline)),
                Transition::Online(of) => judged.extend(self.judged(&of, Health::Online)),
            }
        }
        let told = !judged.is_empty();
        self.history.health(self.catalogue.revision(), judged);
        (told, delists)
    }

    /// A state that begins with this catalogue, of which nothing was told yet. The
    /// next entry of its history is at `position`: after all that were told of
    /// another state, where watchers are to see that this is not the same.
    pub fn beginning(catalogue: Catalogue, position: u64, capacity: usize) -> Self {
        let history = History::beginning(catalogue.revision(), position, [], capacity);
        Self { catalogue, history }
    }

    /// A read: the catalogue and the lease table at `now`.
    pub fn read<S: BuildHasher + Clone>(
        &self,
        query: &Query,
        leases: &LeaseTable<S>,
        now: Timestamp,
    ) -> Result<View> {
        self.catalogue.view(query, |presence| {
            match leases.judge(&presence.id, presence.epoch, now) {
                Judgement::Gone => None,
                Judgement::Present(health) => Some(health),
                // Superseded after this snapshot was taken: in the snapshot's
                // own time it was there, and well.
                Judgement::OtherEpoch(_) => Some(Health::Online),
            }
        })
    }

    /// A watcher's place.
    pub fn cursor(&self, scope: Scope, from: WatchFrom) -> Cursor {
        Cursor::new(scope, from, &self.catalogue, &self.history)
    }

    /// The next item for a watcher.
    pub fn poll(&self, cursor: &mut Cursor) -> Option<WatchItem> {
        cursor.poll(&self.catalogue, &self.history)
    }

    /// The services that changed since `before`, an earlier state of this one.
    /// May name one twice.
    pub fn touched_since<'a>(&'a self, before: &Self) -> impl Iterator<Item = &'a ServiceName> {
        let entries = self.history.entries(before.history.end());
        entries.flat_map(|(_, entry)| entry.services())
    }

    fn judged(&self, reference: &InstanceRef, health: Health) -> Option<HealthChange> {
        let presence: &Arc<Presence> = self.catalogue.presence(&reference.id)?;
        let meant = presence.epoch == reference.epoch && self.history.told(presence) != health;
        meant.then(|| HealthChange { presence: Arc::clone(presence), health })
    }
}
