//! The records of a namespace as they were read, kept up to date by events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use registry_api::kernel::{Change, Edit, Entry, Stored};
use registry_api::{Era, Health, InstanceId, Presence, Revision, ServiceName, ServiceRecord};

use crate::keys::{Key, Keys};
use crate::record::{self, Commit, Declared, Holder, Offered};

/// Every record of a namespace.
#[derive(Debug)]
pub(crate) struct Table {
    keys: Keys,
    era: Era,
    services: BTreeMap<ServiceName, Arc<ServiceRecord>>,
    held: HashMap<InstanceId, Held>,
}

/// What the keys say of one instance.
#[derive(Debug, Default)]
struct Held {
    holder: Option<(Holder, u64)>,
    offers: BTreeMap<ServiceName, Offered>,
    is_alive: bool,
    /// As watchers know it.
    told: Option<(Arc<Presence>, Health)>,
}

/// A key that was put, or deleted.
pub(crate) struct Touch<'a> {
    pub(crate) key: &'a [u8],
    /// The value and the revision; `None` where it was deleted.
    pub(crate) put: Option<(&'a [u8], u64)>,
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
    pub(crate) fn new(keys: Keys, era: Era) -> Self {
        Self { keys, era, services: BTreeMap::new(), held: HashMap::new() }
    }

    pub(crate) fn era(&self) -> Era {
        self.era
    }

    /// Takes over what one revision did.
    pub(crate) fn fold<'a>(
        &mut self,
        revision: u64,
        touches: impl Iterator<Item = Touch<'a>>,
    ) -> Folded {
        let mut folded = Folded::default();
        let (mut touched, mut left, mut edits) = (BTreeSet::new(), Vec::new(), Vec::new());
        for touch in touches {
            match self.keys.parse(touch.key) {
                // Whose it is stands in the declarations too.
                None | Some(Key::Owner) => {}
                Some(Key::Era) => folded.new_era |= !self.is_era(&touch),
                Some(Key::Commit) => {
                    let commit: Option<Commit> =
                        touch.put.and_then(|(value, _)| record::read(value));
                    left = commit.unwrap_or_default().left;
                }
                Some(Key::Service(name)) => match touch.put {
                    None => edits.extend(self.withdraw(name)),
                    Some((value, revision)) => match self.declare(&name, value, revision) {
                        Some(edit) => edits.push(edit),
                        None => folded.skipped.push(touch.key.to_vec()),
                    },
                },
                Some(Key::Id(id) | Key::Alive(id) | Key::Offer(_, id)) => {
                    if !self.hold(&id, &touch) {
                        folded.skipped.push(touch.key.to_vec());
                    }
                    touched.insert(id);
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
        let text = touch.put.and_then(|(value, _)| std::str::from_utf8(value).ok());
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
            (Some(Key::Id(_)), Some((value, revision))) => match record::read(value) {
                Some(holder) => held.holder = Some((holder, revision)),
                None => return false,
            },
            (Some(Key::Id(_)), None) => held.holder = None,
            (Some(Key::Offer(service, _)), Some((value, _))) => match record::read(value) {
                Some(offered) => drop(held.offers.insert(service, offered)),
                None => return false,
            },
            (Some(Key::Offer(service, _)), None) => drop(held.offers.remove(&service)),
            _ => {}
        }
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
        let before = held.told.take();
        let known = before.as_ref().map(|(presence, _)| Arc::clone(presence));
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
                (record::edit(known, after.map(|(presence, _)| presence), has_left), judged)
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
        let (holder, written) = self.holder.as_ref()?;
        let written = Revision { era: revision.era, number: *written };
        let mut presence = holder.presence(id, written, |service| self.offers.get(service));
        if let Some(known) = known.filter(|known| known.revision >= written) {
            presence.revision = known.revision;
            if presence != **known {
                // An offer went without the rest.
                presence.revision = revision;
            }
        }
        Some((Arc::new(presence), record::health(holder.terms, self.is_alive)))
    }

    fn is_empty(&self) -> bool {
        self.holder.is_none() && self.offers.is_empty() && !self.is_alive
    }
}
