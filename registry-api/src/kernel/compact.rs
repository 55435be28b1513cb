//! Many events as few: what a reader that was away needs to get to the present.

use std::collections::BTreeMap;

use crate::identity::{InstanceId, ServiceName};
use crate::instance::Instance;
use crate::watch::Event;

/// What a sequence of events leaves of one instance.
#[derive(Default)]
struct Trace {
    /// The first and the last removal: the reader's own life of it, and how it
    /// ended at last.
    removals: [Option<Event>; 2],
    upsert: Option<Instance>,
    health: Option<Event>,
}

/// The events that lead to the same state as `events`, at most one declaration
/// per service and, per instance, two removals and one upsert or judgement.
pub(super) fn compact(events: Vec<Event>) -> Vec<Event> {
    let mut services: BTreeMap<ServiceName, Event> = BTreeMap::new();
    let mut traces: BTreeMap<InstanceId, Trace> = BTreeMap::new();
    for event in events {
        match event {
            Event::Service(ref record) => {
                services.insert(record.spec.name.clone(), event);
            }
            Event::ServiceRemoved { ref name } => {
                services.insert(name.clone(), event);
            }
            Event::Upsert(instance) => {
                let trace = traces.entry(instance.id.clone()).or_default();
                trace.upsert = Some(instance);
                trace.health = None;
            }
            Event::Health { ref id, .. } => traces.entry(id.clone()).or_default().health(event),
            Event::Remove { ref id, .. } => traces.entry(id.clone()).or_default().removed(event),
        }
    }
    let instances = traces.into_values().flat_map(Trace::into_events);
    services.into_values().chain(instances).collect()
}

impl Trace {
    fn health(&mut self, event: Event) {
        let Event::Health { epoch, health, .. } = event else {
            return;
        };
        match &mut self.upsert {
            Some(instance) if instance.epoch == epoch => instance.health = health,
            Some(_) | None => self.health = Some(event),
        }
    }

    fn removed(&mut self, event: Event) {
        let place = usize::from(self.removals[0].is_some());
        self.removals[place] = Some(event);
        self.upsert = None;
        self.health = None;
    }

    fn into_events(self) -> impl Iterator<Item = Event> {
        let upsert = self.upsert.map(Event::Upsert);
        self.removals.into_iter().flatten().chain(upsert).chain(self.health)
    }
}
