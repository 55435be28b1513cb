//! What a transaction writes after the kernel has decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use registry_api::kernel::{Edit, Entry, Outcome, State};
use registry_api::{Health, InstanceId, Presence, Revision, ServiceName, ServiceRecord};

use super::load::{Head, Loaded};
use crate::record;
use crate::session::{Failed, Session};
use crate::statement::Value;
use crate::statements::{
    ADVANCE, COMPACT, DELETE_INSTANCES, DELETE_LEASES, DELETE_OFFERS, DELETE_SERVICES,
    INSERT_CHANGES, INSERT_INSTANCES, INSERT_LEASES, INSERT_OFFERS, INSERT_SERVICES, NOTIFY,
    RENEW_LEASES, TELL,
};
use crate::store::Store;

/// The most bytes of one statement, about.
const BYTES: usize = 1024 * 1024;
/// The history is compacted whenever this many entries were added.
const COMPACTION: u64 = 64;

/// The rows that change.
pub(super) struct Saving {
    term: i64,
    revision: Revision,
    before: u64,
    position: u64,
    events: u64,
    /// As they are now; `None` is gone.
    instances: BTreeMap<InstanceId, Option<Arc<Presence>>>,
    services: BTreeMap<ServiceName, Option<Arc<ServiceRecord>>>,
    /// Leases that begin now, and the slot of those that go on.
    granted: BTreeMap<InstanceId, (Arc<Presence>, Option<i64>)>,
    told: BTreeMap<InstanceId, Health>,
    /// (position, place, number, events, entries)
    changes: Vec<(u64, u64, u64, u64, String)>,
}

impl Saving {
    pub(super) fn new(head: &Head, state: &State, outcomes: &[Outcome], loaded: &Loaded) -> Self {
        let mut saving = Self {
            term: head.term,
            revision: state.catalogue().revision(),
            before: head.position,
            position: state.position(),
            events: head.events,
            instances: BTreeMap::new(),
            services: BTreeMap::new(),
            granted: BTreeMap::new(),
            told: BTreeMap::new(),
            changes: Vec::new(),
        };
        for (position, entry) in state.entries(head.position) {
            saving.entry(position, entry);
        }
        for presence in outcomes.iter().flat_map(connected) {
            // What came later in this transaction may have ended it again.
            let lives = state.catalogue().presence(&presence.id) == Some(presence);
            if lives {
                let slot = loaded.slot(presence);
                saving.granted.insert(presence.id.clone(), (Arc::clone(presence), slot));
            }
        }
        saving
    }

    fn entry(&mut self, position: u64, entry: &Entry) {
        self.events += entry.weight() as u64;
        let number = match entry {
            Entry::Commit(change) => {
                change.edits.iter().for_each(|edit| self.edit(edit));
                change.revision.number
            }
            Entry::Health(revision, changes) => {
                for change in changes {
                    self.told.insert(change.presence.id.clone(), change.health);
                }
                revision.number
            }
        };
        for (place, entries) in record::entry(entry).into_iter().enumerate() {
            self.changes.push((position, place as u64, number, self.events, entries));
        }
    }

    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Instance { before, after, .. } => {
                if let Some(before) = before {
                    self.instances.insert(before.id.clone(), None);
                }
                if let Some(after) = after {
                    self.instances.insert(after.id.clone(), Some(Arc::clone(after)));
                }
            }
            Edit::Service(record) => {
                self.services.insert(record.spec.name.clone(), Some(Arc::clone(record)));
            }
            Edit::ServiceRemoved(name) => {
                self.services.insert(name.clone(), None);
            }
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.granted.is_empty()
    }

    pub(super) async fn save(self, store: &Store, session: &mut Session) -> Result<(), Failed> {
        let mut write = Write { ns: store.ns, session };
        self.save_instances(&mut write).await?;
        self.save_leases(&mut write).await?;
        self.save_services(&mut write).await?;
        if self.changes.is_empty() {
            return Ok(());
        }
        write.rows(INSERT_CHANGES, &self.changes, |row| row.4.len()).await?;
        let head = [self.revision.number, self.position, self.events].map(Value::from);
        let values: Vec<_> = head.into_iter().chain([store.ns.into()]).collect();
        write.session.run(ADVANCE, &values).await?;
        if self.before / COMPACTION != self.position / COMPACTION {
            let kept = self.events.saturating_sub(store.history as u64);
            write.session.run(COMPACT, &[store.ns.into(), kept.into()]).await?;
        }
        if let Some(channel) = store.dialect.channel() {
            let payload = Value::Text(store.ns.to_string());
            write.session.rows(NOTIFY, &[channel.into(), payload]).await?;
        }
        Ok(())
    }

    async fn save_instances(&self, write: &mut Write<'_>) -> Result<(), Failed> {
        if self.instances.is_empty() {
            return Ok(());
        }
        // What is put is removed first: it may be there, and be anything.
        let ids = Value::texts(self.instances.keys());
        for text in [DELETE_INSTANCES, DELETE_OFFERS] {
            write.session.run(text, &[write.ns.into(), ids.clone()]).await?;
        }
        let present: Vec<_> = self.instances.values().flatten().collect();
        let rows = present.iter().map(|presence| (&presence.id, record::write(&***presence)));
        let rows: Vec<_> = rows.collect();
        write.rows(INSERT_INSTANCES, &rows, |row| row.1.len()).await?;
        let offers = present.iter().flat_map(|presence| {
            // A service is offered once, but a record of a foreign hand may say twice.
            let services: BTreeSet<_> = presence.offers.iter().map(|o| &o.service).collect();
            services.into_iter().map(|service| (service, &presence.id))
        });
        let offers: Vec<_> = offers.collect();
        write.rows(INSERT_OFFERS, &offers, |_| 100).await
    }

    /// Slots for the leases that begin now: side by side, because who connects
    /// together beats together, and never those of another connect, also not of
    /// one that a restored backup has forgotten.
    fn first_slot(&self) -> i64 {
        let position = (self.position & 0x7fff_ffff) as i64;
        position << 32 | i64::from(fastrand::u16(..)) << 16
    }

    async fn save_leases(&self, write: &mut Write<'_>) -> Result<(), Failed> {
        let goes_on: Vec<i64> = self.granted.values().filter_map(|(_, slot)| *slot).collect();
        if !goes_on.is_empty() {
            let values = [self.term.into(), Value::Ints(goes_on)];
            write.session.run(RENEW_LEASES, &values).await?;
        }
        let begins = self.granted.iter().filter(|(_, (_, slot))| slot.is_none());
        let begins: BTreeMap<_, _> = begins.map(|(id, (presence, _))| (id, presence)).collect();
        let lasts =
            |id: &&InstanceId| self.granted.get(*id).is_some_and(|(_, slot)| slot.is_some());
        let ended = self.instances.keys().filter(|id| !lasts(id)).chain(begins.keys().copied());
        let ended: BTreeSet<_> = ended.collect();
        if !ended.is_empty() {
            let values = [write.ns.into(), Value::texts(ended)];
            write.session.run(DELETE_LEASES, &values).await?;
        }
        let first = self.first_slot();
        let lease = |(place, presence): (i64, &&Arc<Presence>)| {
            let (ttl, ttd) = record::micros(presence.terms);
            (first + place, presence.id.clone(), record::epoch(presence.epoch), ttl, ttd)
        };
        let leases: Vec<_> = (0..).zip(begins.values()).map(lease).collect();
        if !leases.is_empty() {
            let values = [write.ns.into(), Value::rows(&leases), self.term.into()];
            write.session.run(INSERT_LEASES, &values).await?;
        }
        // A lease that begins now tells what it is by itself.
        let told = self.told.iter().filter(|(id, _)| !self.granted.contains_key(*id));
        let told: Vec<_> = told.map(|(id, health)| (id, record::told_column(*health))).collect();
        for column in [0, 1] {
            let ids: Vec<_> =
                told.iter().filter(|(_, to)| *to == column).map(|(id, _)| id).collect();
            if !ids.is_empty() {
                let values = [write.ns.into(), Value::texts(ids), column.into()];
                write.session.run(TELL, &values).await?;
            }
        }
        Ok(())
    }

    async fn save_services(&self, write: &mut Write<'_>) -> Result<(), Failed> {
        if self.services.is_empty() {
            return Ok(());
        }
        let names = Value::texts(self.services.keys());
        write.session.run(DELETE_SERVICES, &[write.ns.into(), names]).await?;
        let row = |record: &Arc<ServiceRecord>| {
            (record.spec.name.clone(), record.owner.clone(), record::write(&**record))
        };
        let rows: Vec<_> = self.services.values().flatten().map(row).collect();
        write.rows(INSERT_SERVICES, &rows, |row| row.2.len()).await
    }
}

/// The instances a write connected.
fn connected(outcome: &Outcome) -> impl Iterator<Item = &Arc<Presence>> {
    let answers = match outcome {
        Outcome::Connected(answers) => answers.as_slice(),
        Outcome::Done(_) | Outcome::Registered(_) | Outcome::Renewed(_) => &[],
    };
    answers.iter().flatten()
}

/// Statements with many rows.
struct Write<'a> {
    ns: i64,
    session: &'a mut Session,
}

impl Write<'_> {
    /// Inserts rows, with as many statements as their bytes need.
    async fn rows<T: serde::Serialize>(
        &mut self,
        text: &str,
        rows: &[T],
        bytes: impl Fn(&T) -> usize,
    ) -> Result<(), Failed> {
        let (mut start, mut size) = (0, 0);
        for (place, row) in rows.iter().enumerate() {
            size += bytes(row);
            if size >= BYTES || place + 1 == rows.len() {
                let values = [self.ns.into(), Value::rows(&rows[start..=place])];
                self.session.run(text, &values).await?;
                (start, size) = (place + 1, 0);
            }
        }
        Ok(())
    }
}
