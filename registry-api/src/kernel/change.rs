//! What a committed write did, and how a watcher with a scope sees it.

use std::sync::Arc;

use crate::identity::ServiceName;
use crate::instance::{Cause, Health, Instance, Presence};
use crate::query::Scope;
use crate::revision::Revision;
use crate::service::ServiceRecord;
use crate::watch::Event;

/// One committed write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its revision.
    pub revision: Revision,
    /// What it did, in order.
    pub edits: Vec<Edit>,
}

/// One record that a write touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// An instance came, changed or went.
    Instance {
        /// The record as it was.
        before: Option<Arc<Presence>>,
        /// The record as it is.
        after: Option<Arc<Presence>>,
        /// Why `before` is not there any more, where that is so.
        cause: Cause,
    },
    /// A declaration came or changed.
    Service(Arc<ServiceRecord>),
    /// A declaration went.
    ServiceRemoved(ServiceName),
}

/// A judgement that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// Whose.
    pub presence: Arc<Presence>,
    /// The new judgement.
    pub health: Health,
}

impl Edit {
    /// What a watcher of `scope` sees of it.
    pub fn events(&self, scope: &Scope, events: &mut Vec<Event>) {
        match self {
            Self::Service(record) if scope.has_service(&record.spec.name) => {
                events.push(Event::Service(Arc::clone(record)));
            }
            Self::ServiceRemoved(name) if scope.has_service(name) => {
                events.push(Event::ServiceRemoved { name: name.clone() });
            }
            Self::Service(_) | Self::ServiceRemoved(_) => {}
            Self::Instance { before, after, cause } => {
                let seen = |p: &&Arc<Presence>| scope.has_instance(&p.id, &p.offers);
                let before = before.as_ref().filter(seen);
                let after = after.as_ref().filter(seen);
                push_removal(before, after, *cause, events);
                events.extend(after.map(|presence| {
                    Event::Upsert(Instance {
                        presence: Arc::clone(presence),
                        health: Health::Online,
                    })
                }));
            }
        }
    }

    /// The names of all services it touches.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        let (declared, before, after) = match self {
            Self::Service(record) => (Some(&record.spec.name), None, None),
            Self::ServiceRemoved(name) => (Some(name), None, None),
            Self::Instance { before, after, .. } => (None, before.as_ref(), after.as_ref()),
        };
        let offers = before.into_iter().chain(after).flat_map(|p| p.offers.iter());
        declared.into_iter().chain(offers.map(|offer| &offer.service))
    }
}

/// A record that stays under the same epoch needs no removal, unless it left
/// the scope.
fn push_removal(
    before: Option<&Arc<Presence>>,
    after: Option<&Arc<Presence>>,
    cause: Cause,
    events: &mut Vec<Event>,
) {
    let Some(before) = before else { return };
    if after.is_some_and(|after| after.epoch == before.epoch) {
        return;
    }
    events.push(Event::Remove { id: before.id.clone(), epoch: before.epoch, cause });
}

impl HealthChange {
    /// What a watcher of `scope` sees of it.
    pub fn event(&self, scope: &Scope) -> Option<Event> {
        let presence = &self.presence;
        let seen = scope.has_instance(&presence.id, &presence.offers);
        seen.then(|| Event::Health {
            id: presence.id.clone(),
            epoch: presence.epoch,
            health: self.health,
        })
    }
}
