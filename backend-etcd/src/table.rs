//! The records of a namespace as they were read, kept up to date by events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use registry_api::kernel::{Change, Edit, Entry, Stored};
use registry_api::{
    Epoch, Era, Health, InstanceId, InstanceSpec, LeaseTerms, Limits, Offer, Presence, Revision,
    ServiceName, ServiceRecord,
};

use crate::dialect::{Dialect, Named};
use crate::keys::{Key, Keys};
use crate::leases::is_ours;
use crate::record::{self, Commit, Declared, Holder, Offered};

/// Every record of a namespace.
#[derive(Debug)]
pub(crate) struct Table {
    keys: Keys,
    dialects: Vec<Dialect>,
    era: Era,
    /// The last write that was told of.
    commit: u64,
    services: BTreeMap<ServiceName, Arc<ServiceRecord>>,
    held: HashMap<InstanceId, Held>,
}

/// What the keys say of one instance.
#[derive(Debug, Default)]
struct Held {
    holder: Option<(Holder, u64)>,
    offers: BTreeMap<ServiceName, Offered>,
    is_alive: bool,
    /// What foreign hands wrote of an instance with this id, by key.
    foreign: BTreeMap<String, Foreign>,
    /// What watchers know of it is what foreign hands wrote.
    is_foreign: bool,
    /// As watchers know it.
    told: Option<(Arc<Presence>, Health)>,
}

/// A foreign record.
#[derive(Debug)]
struct Foreign {
    offer: Offer,
    terms: LeaseTerms,
    /// The revision at which its key appeared: another one is another life.
    since: u64,
    written: u64,
}

/// A key that was put, or deleted.
#[derive(Clone, Copy)]
pub(crate) struct Touch<'a> {
    pub(crate) key: &'a [u8],
    /// `None` where it was deleted.
    pub(crate) put: Option<Put<'a>>,
}

/// What was put.
#[derive(Clone, Copy)]
pub(crate) struct Put<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) lease: i64,
    /// The revision at which the key appeared.
    pub(crate) since: u64,
    pub(crate) revision: u64,
}

/// What one revision did.
#[derive(Default)]
pub(crate) struct Folded {
    pub(crate) entries: Vec<Entry>,
    /// The history is another one from here on.
    pub(crate) new_era: bool,
    /// Values that could not be understood.
    pub(crate) skipped: Vec<Vec<u8>>,
}

impl Table {
    pub(crate) fn new(keys: Keys, dialects: Vec<Dialect>, era: Era) -> Self {
        Self { keys, dialects, era, commit: 0, services: BTreeMap::new(), held: HashMap::new() }
    }

    pub(crate) fn era(&self) -> Era {
        self.era
    }

    /// The revision of the last write that was told of, 0 if there was none.
    pub(crate) fn commit(&self) -> u64 {
        self.commit
    }

    /// Takes over what one revision did.
    pub(crate) fn fold<'a>(
        &mut self,
        revision: u64,
        touches: impl Iterator<Item = Touch<'a>>,
    ) -> Folded {
        let mut folded = Folded::default();
        let (mut touched, mut left, mut edits) = (Vec::new(), Vec::new(), Vec::new());
        // Each instance once, in the order in which it was written.
        let mut seen = BTreeSet::new();
        let mut touch_id = |id: InstanceId| {
            if seen.insert(id.clone()) {
                touched.push(id);
            }
        };
        for touch in touches {
            match self.keys.parse(touch.key) {
                None => {
                    let Some(named) = self.named(touch.key) else { continue };
                    if !self.hold_foreign(&named, &touch) {
                        folded.skipped.push(touch.key.to_vec());
                    }
                    touch_id(named.id);
                }
                // Whose it is stands in the declarations too.
                Some(Key::Owner) => {}
                Some(Key::Era) => folded.new_era |= !self.is_era(&touch),
                Some(Key::Commit) => {
                    self.commit = touch.put.map_or(self.commit, |put| put.revision);
                    let commit: Option<Commit> = touch.put.and_then(|put| record::read(put.value));
                    left = commit.unwrap_or_default().left;
                }
                Some(Key::Service(name)) => match touch.put {
                    None => edits.extend(self.withdraw(name)),
                    Some(put) => match self.declare(&name, put.value, put.revision) {
                        Some(edit) => edits.push(edit),
                        None => folded.skipped.push(touch.key.to_vec()),
                    },
                },
                Some(Key::Id(id) | Key::Alive(id) | Key::Offer(_, id)) => {
                    if !self.hold(&id, &touch) {
                        folded.skipped.push(touch.key.to_vec());
                    }
                    touch_id(id);
                }
            }
        }
        let mut judged = Vec::new();
        for id in touched {
            let has_left = left.contains(&id);
            let (edit, change) = self.tell(&id, revision, has_left);
            edits.extend(edit);
            judged.extend(change);
        }
        let revision = Revision { era: self.era, number: revision };
        if !edits.is_empty() {
            folded.entries.push(Entry::Commit(Change { revision, edits }));
        }
        if !judged.is_empty() {
            folded.entries.push(Entry::Health(revision, judged));
        }
        folded
    }

    /// Everything, as a state begins with it.
    pub(crate) fn stored(&self, revision: u64, position: u64) -> Stored {
        let mut presences: Vec<_> =
            self.held.values().filter_map(|held| held.told.clone()).collect();
        presences.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Stored {
            revision: Revision { era: self.era, number: revision },
            position,
            services: self.services.values().cloned().collect(),
            presences,
        }
    }

    fn is_era(&self, touch: &Touch<'_>) -> bool {
        let text = touch.put.and_then(|put| std::str::from_utf8(put.value).ok());
        text.and_then(|text| text.parse().ok()) == Some(self.era.0)
    }

    /// A declaration came or changed; `None` if it cannot be understood.
    fn declare(&mut self, name: &ServiceName, value: &[u8], revision: u64) -> Option<Edit> {
        let declared: Declared = record::read(value)?;
        let revision = Revision { era: self.era, number: revision };
        let record = Arc::new(declared.record(name, revision)?);
        self.services.insert(name.clone(), Arc::clone(&record));
        Some(Edit::Service(record))
    }

    fn withdraw(&mut self, name: ServiceName) -> Option<Edit> {
        self.services.remove(&name).map(|_| Edit::ServiceRemoved(name))
    }

    /// Takes over a key of an instance; whether it was understood. What cannot be
    /// understood leaves what was known.
    fn hold(&mut self, id: &InstanceId, touch: &Touch<'_>) -> bool {
        let held = self.held.entry(id.clone()).or_default();
        match (self.keys.parse(touch.key), touch.put) {
            (Some(Key::Alive(_)), put) => held.is_alive = put.is_some(),
            (Some(Key::Id(_)), Some(put)) => match record::read(put.value) {
                Some(holder) => held.holder = Some((holder, put.revision)),
                None => return false,
            },
            (Some(Key::Id(_)), None) => held.holder = None,
            (Some(Key::Offer(service, _)), Some(put)) => match record::read(put.value) {
                Some(offered) => drop(held.offers.insert(service, offered)),
                None => return false,
            },
            (Some(Key::Offer(service, _)), None) => drop(held.offers.remove(&service)),
            _ => {}
        }
        true
    }

    fn named(&self, key: &[u8]) -> Option<Named> {
        self.dialects.iter().find_map(|dialect| dialect.named(key))
    }

    /// The same for a foreign key.
    fn hold_foreign(&mut self, named: &Named, touch: &Touch<'_>) -> bool {
        let held = self.held.entry(named.id.clone()).or_default();
        let key = String::from_utf8_lossy(touch.key).into_owned();
        let Some(put) = touch.put else {
            held.foreign.remove(&key);
            return true;
        };
        if is_ours(put.lease) {
            // A copy of ours, which may have taken the place of one of theirs.
            held.foreign.remove(&key);
            return true;
        }
        let Some(offer) = named.read(put.value) else { return false };
        let terms = named.dialect.terms();
        let (since, written) = (put.since, put.revision);
        held.foreign.insert(key, Foreign { offer, terms, since, written });
        true
    }

    /// What watchers are to be told of an instance.
    fn tell(
        &mut self,
        id: &InstanceId,
        revision: u64,
        has_left: bool,
    ) -> (Option<Edit>, Option<registry_api::kernel::HealthChange>) {
        let Some(held) = self.held.get_mut(id) else {
            return (None, None);
        };
        let was_foreign = std::mem::take(&mut held.is_foreign);
        let before = held.told.take();
        let known = before.as_ref().map(|(presence, _)| Arc::clone(presence));
        held.is_foreign = held.holder.is_none();
        held.told = held.current(id, Revision { era: self.era, number: revision }, known.as_ref());
        let after = held.told.clone();
        if held.is_empty() {
            self.held.remove(id);
        }
        match (known, after) {
            (Some(known), Some((presence, health))) if known == presence => {
                let told = before.map_or(health, |(_, told)| told);
                (None, record::judged(&presence, told, health))
            }
            (known, after) => {
                // A record that comes is online; one that comes offline is judged too.
                let judged = after.as_ref().and_then(|(presence, health)| {
                    record::judged(presence, Health::Online, *health)
                });
                let cause = record::cause(was_foreign, has_left);
                (record::edit(known, after.map(|(presence, _)| presence), cause), judged)
            }
        }
    }
}

impl Held {
    /// The instance as the keys have it now. A record that says the same as
    /// `known` is that one.
    fn current(
        &self,
        id: &InstanceId,
        revision: Revision,
        known: Option<&Arc<Presence>>,
    ) -> Option<(Arc<Presence>, Health)> {
        let (mut presence, health) = match &self.holder {
            Some((holder, written)) => {
                let written = Revision { era: revision.era, number: *written };
                let presence = holder.presence(id, written, |service| self.offers.get(service));
                (presence, record::health(holder.terms, self.is_alive))
            }
            None => (self.foreign(id, revision.era)?, Health::Online),
        };
        if let Some(known) = known {
            let said = std::mem::replace(&mut presence.revision, known.revision);
            if presence != **known {
                // Later than before, also where an offer went without the rest.
                presence.revision =
                    if said.number > known.revision.number { said } else { revision };
            }
        }
        Some((Arc::new(presence), health))
    }

    /// What foreign hands wrote, as one instance.
    fn foreign(&self, id: &InstanceId, era: Era) -> Option<Presence> {
        let oldest = self.foreign.values().min_by_key(|foreign| foreign.since)?;
        let mut offers: Vec<Offer> = Vec::new();
        for foreign in self.foreign.values() {
            let is_new = offers.iter().all(|offer| offer.service != foreign.offer.service);
            if is_new && offers.len() < Limits::MAX_OFFERS {
                offers.push(foreign.offer.clone());
            }
        }
        let spec = InstanceSpec::new(id.clone(), offers).with_terms(oldest.terms);
        let number = self.foreign.values().map(|foreign| foreign.written).max()?;
        Some(Presence::new(&spec, Epoch(oldest.since), Revision { era, number }))
    }

    fn is_empty(&self) -> bool {
        self.told.is_none()
            && self.holder.is_none()
            && self.offers.is_empty()
            && self.foreign.is_empty()
            && !self.is_alive
    }
}
