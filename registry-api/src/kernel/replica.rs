//! The state a watcher has after the items it was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::{InstanceId, ServiceName};
use crate::instance::{Health, Instance};
use crate::query::View;
use crate::revision::Revision;
use crate::service::ServiceRecord;
use crate::watch::{Event, WatchItem};

/// A copy of the part of a registry that is watched, by folding its items.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    revision: Option<Revision>,
    services: BTreeMap<ServiceName, Arc<ServiceRecord>>,
    instances: BTreeMap<InstanceId, Instance>,
    resuming: bool,
}

impl Replica {
    /// A replica that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The revision it has reached; `None` before the first Reset.
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// The declarations it knows.
    pub fn services(&self) -> &BTreeMap<ServiceName, Arc<ServiceRecord>> {
        &self.services
    }

    /// The instances it knows.
    pub fn instances(&self) -> &BTreeMap<InstanceId, Instance> {
        &self.instances
    }

    /// The next item is the first of a resumed watch. It names everybody who is
    /// not online, so everybody else is, whatever was known before.
    pub fn resume(&mut self) {
        self.resuming = true;
    }

    /// Takes the next item. A Reset replaces everything; within an era, what is
    /// older than what is here is passed over (V8). Returns whether it counted.
    pub fn apply(&mut self, item: WatchItem) -> bool {
        let revision = item.revision();
        if std::mem::take(&mut self.resuming) {
            self.instances.values_mut().for_each(|i| i.health = Health::Online);
        }
        match item {
            WatchItem::Reset(view) => self.reset(view),
            WatchItem::Changes { .. } | WatchItem::Progress(_) if !self.follows(revision) => {
                return false;
            }
            WatchItem::Changes { events, .. } => {
                for event in events {
                    self.event(event);
                }
            }
            WatchItem::Progress(_) => {}
        }
        self.revision = Some(revision);
        true
    }

    /// What it knows, as a view.
    pub fn view(&self) -> Option<View> {
        Some(View {
            revision: self.revision?,
            services: self.services.values().cloned().collect(),
            instances: self.instances.values().cloned().collect(),
        })
    }

    fn follows(&self, revision: Revision) -> bool {
        self.revision.is_some_and(|known| known <= revision)
    }

    fn reset(&mut self, view: View) {
        let named = |r: Arc<ServiceRecord>| (r.spec.name.clone(), r);
        self.services = view.services.into_iter().map(named).collect();
        let keyed = |i: Instance| (i.id.clone(), i);
        self.instances = view.instances.into_iter().map(keyed).collect();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Health { id, epoch, health } => {
                let known = self.instances.get_mut(&id).filter(|i| i.epoch == epoch);
                if let Some(instance) = known {
                    instance.health = health;
                }
            }
            Event::Remove { id, epoch, .. } => {
                if self.instances.get(&id).is_some_and(|i| i.epoch == epoch) {
                    self.instances.remove(&id);
                }
            }
            Event::Service(record) => {
                self.services.insert(record.spec.name.clone(), record);
            }
            Event::ServiceRemoved { name } => {
                self.services.remove(&name);
            }
            Event::Upsert(instance) => {
                self.instances.insert(instance.id.clone(), instance);
            }
        }
    }
}
