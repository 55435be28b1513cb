//! When too many go at once: evidence against whoever says so.
//!
//! A registry that stalls lets the leases of the living run out, and then says
//! truthfully that they ran out. A caller that believes it has nobody left to
//! call. So those who vanish together, without leaving, are *held*: still
//! picked, and marked, until there is better evidence.
//!
//! Sans-IO: the caller brings the items of a watch and the time, and does the
//! probing it is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::replica::Replica;
use crate::address::Target;
use crate::identity::InstanceId;
use crate::instance::{Cause, Health, Instance, InstanceRef};
use crate::time::Timestamp;
use crate::watch::{Event, WatchItem};

/// The instances of one service that went without leaving.
#[derive(Debug, Default)]
pub struct Hold {
    lost: BTreeMap<InstanceId, Lost>,
}

#[derive(Debug)]
struct Lost {
    instance: Instance,
    since: Timestamp,
    /// A Reset came without it, and nobody said why.
    unexplained: bool,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    until: Timestamp,
    next_probe: Timestamp,
}

/// How many are there, and how many just went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Online and ready.
    pub routable: usize,
    /// Went without leaving, within one ttl or held since.
    pub lost: usize,
}

/// No hold outlasts this: what was true ten minutes ago is a guess.
const LONGEST: Duration = Duration::from_secs(600);
/// How often a held instance is probed.
const PROBE_EVERY: Duration = Duration::from_secs(5);

impl Evidence {
    /// Whether so many of a service going at once speaks against the registry.
    fn condemns_for_a_service(self) -> bool {
        self.lost >= 3 && 2 * self.lost > self.routable + self.lost
    }

    /// Whether so many of all that is known going at once does.
    pub fn condemns_for_all(self) -> bool {
        self.lost >= 20 && 100 * self.lost > 15 * (self.routable + self.lost)
    }

    /// This without a part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            routable: self.routable.saturating_sub(part.routable),
            lost: self.lost.saturating_sub(part.lost),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { routable: self.routable + other.routable, lost: self.lost + other.lost }
    }
}

impl Hold {
    /// Nobody is missed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an item, before `known` takes it.
    pub fn note(&mut self, known: &Replica, item: &WatchItem, now: Timestamp) {
        match item {
            WatchItem::Progress(_) => {}
            WatchItem::Changes { events, .. } => {
                events.iter().for_each(|event| self.note_event(known, event, now));
            }
            WatchItem::Reset(view) => {
                self.lost.retain(|id, lost| match view.instance(id) {
                    Some(seen) => lost.is_still(seen),
                    None => true,
                });
                for instance in known.instances().values().filter(|i| i.is_routable()) {
                    match view.instance(&instance.id) {
                        None => self.lose(instance, true, now),
                        Some(seen) if seen.health == Health::Offline => {
                            self.lose(seen, false, now);
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    fn note_event(&mut self, known: &Replica, event: &Event, now: Timestamp) {
        let routable = |id: &InstanceId| known.instances().get(id).filter(|i| i.is_routable());
        match event {
            Event::Health { id, health: Health::Offline, .. } => {
                if let Some(instance) = routable(id) {
                    self.lose(instance, false, now);
                }
            }
            Event::Health { id, health: Health::Online, .. } => {
                self.lost.remove(id);
            }
            Event::Remove { id, cause: Cause::Expired | Cause::Unknown, .. } => {
                if let Some(instance) = routable(id) {
                    self.lose(instance, false, now);
                }
            }
            Event::Remove { id, cause: Cause::Deregistered | Cause::Superseded, .. } => {
                self.lost.remove(id);
            }
            Event::Upsert(instance) => {
                self.lost.remove(&instance.id);
            }
            Event::Service(_) | Event::ServiceRemoved { .. } => {}
        }
    }

    fn lose(&mut self, instance: &Instance, unexplained: bool, now: Timestamp) {
        let instance = Instance { presence: instance.presence.clone(), health: Health::Offline };
        let lost = Lost { instance, since: now, unexplained, held: None };
        self.lost.insert(lost.instance.id.clone(), lost);
    }

    /// Forgets losses that are believed by now, and ends holds that are over.
    /// Returns whether anything changed.
    pub fn settle(&mut self, now: Timestamp) -> bool {
        let before = self.lost.len();
        self.lost.retain(|_, lost| now < lost.ends());
        self.lost.len() != before
    }

    /// What speaks for a hold, given how many are routable now.
    pub fn evidence(&self, routable: usize) -> Evidence {
        Evidence { routable, lost: self.lost.len() }
    }

    /// Holds everybody who is missed, if there is reason to. `others` is the
    /// evidence of all other services. Returns whether anything changed.
    pub fn judge(&mut self, routable: usize, others: Evidence, now: Timestamp) -> bool {
        let mut changed = false;
        let evidence = self.evidence(routable);
        // A set that is empty after a Reset is empty for no reason at all.
        let emptied = routable == 0 && self.lost.values().any(|lost| lost.unexplained);
        let condemned =
            evidence.condemns_for_a_service() || evidence.and(others).condemns_for_all() || emptied;
        if condemned {
            for lost in self.lost.values_mut().filter(|lost| lost.held.is_none()) {
                lost.hold(now);
                changed = true;
            }
        }
        changed
    }

    /// Those that are held, by id, as they were last seen.
    pub fn held(&self) -> impl Iterator<Item = &Instance> {
        self.lost.values().filter(|lost| lost.held.is_some()).map(|lost| &lost.instance)
    }

    /// Those whose addresses are to be probed now; asked once per interval.
    pub fn probes(&mut self, now: Timestamp) -> Vec<Instance> {
        let mut due = Vec::new();
        for lost in self.lost.values_mut() {
            if let Some(held) = &mut lost.held
                && held.next_probe <= now
            {
                held.next_probe = now + PROBE_EVERY;
                due.push(lost.instance.clone());
            }
        }
        due
    }

    /// A probe found nobody: it is gone. Returns whether that ends a hold.
    pub fn refuted(&mut self, gone: &InstanceRef) -> bool {
        let held = |lost: &Lost| lost.held.is_some() && lost.instance.epoch == gone.epoch;
        let ends = self.lost.get(&gone.id).is_some_and(held);
        if ends {
            self.lost.remove(&gone.id);
        }
        ends
    }

    /// When there is something to decide or to probe again.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.lost.values().map(Lost::wakes).min()
    }
}

impl Lost {
    /// Whether `seen` is the same life, which has not come back.
    fn is_still(&self, seen: &Instance) -> bool {
        seen.epoch == self.instance.epoch
            && seen.health == Health::Offline
            && seen.phase == self.instance.phase
    }

    fn hold(&mut self, now: Timestamp) {
        let patience = match can_be_probed(&self.instance) {
            true => LONGEST,
            false => self.instance.terms.ttd().min(LONGEST),
        };
        let never = Timestamp::from_nanos(u64::MAX);
        let next_probe = if can_be_probed(&self.instance) { now } else { never };
        self.held = Some(Held { until: self.since + patience, next_probe });
    }

    /// When it no longer counts: a loss alone after its ttl, a held one when
    /// its hold ends.
    fn ends(&self) -> Timestamp {
        match &self.held {
            Some(held) => held.until,
            None => self.since + self.instance.terms.ttl(),
        }
    }

    fn wakes(&self) -> Timestamp {
        match &self.held {
            Some(held) => held.until.min(held.next_probe),
            None => self.ends(),
        }
    }
}

/// Whether somebody listens at one of its addresses who could refuse.
fn can_be_probed(instance: &Instance) -> bool {
    let addresses = instance.offers.iter().flat_map(|offer| offer.addresses.iter());
    addresses.into_iter().any(|address| matches!(address.target(), Target::Host { .. }))
}
