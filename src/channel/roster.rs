//! Whom a channel may pick, prepared once per snapshot of its view.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use registry_api::call::Caller;
use registry_api::{Epoch, Instance, InstanceId, Scope, ServiceName, Sla};

use super::balance::Balance;
use super::hash::{BoundedHash, Ring};
use super::node::{Node, Tick};
use super::options::ChannelOptions;
use super::p2c;
use super::slot::Slot;
use crate::view::{AliasTable, Followed};

/// One immutable snapshot, and in it the primary of a sticky channel.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) followed: Arc<Followed>,
    near: Group,
    far: Group,
    endpoints: HashMap<String, Facts>,
    primary: AtomicU32,
}

/// Those of one distance.
#[derive(Debug, Default)]
struct Group {
    slots: AliasTable<Slot>,
    ring: Ring,
    weight: u64,
}

/// What is declared about an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) sla: Option<Sla>,
    pub(super) idempotent: bool,
}

/// Where somebody stands in a roster.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Far(usize),
    Near(usize),
}

/// What a choice depends on besides the roster.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) options: &'a ChannelOptions,
    pub(super) key: Option<u64>,
    pub(super) tried: &'a [Arc<Node>],
    pub(super) now: Tick,
    /// Ejections do not count.
    pub(super) panic: bool,
    /// Calls in flight on all instances; only where keys are hashed.
    pub(super) in_flight: u32,
}

const NOBODY: u32 = u32::MAX;

impl Roster {
    /// Prepares a snapshot. Nodes of lives that stay are taken over.
    pub(super) fn new(
        followed: &Arc<Followed>,
        service: &ServiceName,
        options: &ChannelOptions,
        caller: &dyn Caller,
        before: &Self,
    ) -> Self {
        let known: HashMap<(&InstanceId, Epoch), &Arc<Node>> =
            before.slots().map(|slot| (life(&slot.instance), &slot.node)).collect();
        let scope = Scope::service(service.clone());
        let fits = |i: &Instance| {
            options.filter.matches_offers(i, &scope) && places(i, service, caller).is_some()
        };
        let slots = followed.pickable(fits).into_iter().filter_map(|i| {
            let places = places(i, service, caller)?;
            let node = known.get(&life(i)).map(|node| Arc::clone(node)).unwrap_or_default();
            Some(Slot::new(i.clone(), node, places))
        });
        let is_near =
            |slot: &Slot| options.zone.as_ref().is_none_or(|zone| *slot.offer().zone == *zone.zone);
        let (near, far): (Vec<_>, Vec<_>) = slots.partition(is_near);
        let hashed = matches!(options.balance, Balance::Hash(_));
        let mut roster = Self {
            followed: Arc::clone(followed),
            near: Group::new(near, hashed),
            far: Group::new(far, hashed),
            endpoints: endpoints(followed),
            primary: AtomicU32::new(NOBODY),
        };
        roster.keep_primary(before);
        roster
    }

    pub(super) fn empty() -> Self {
        Self {
            followed: Arc::default(),
            near: Group::default(),
            far: Group::default(),
            endpoints: HashMap::new(),
            primary: AtomicU32::new(NOBODY),
        }
    }

    /// What is declared about a method.
    pub(super) fn facts(&self, method: &str) -> Facts {
        self.endpoints.get(method).copied().unwrap_or_default()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.near.slots.iter().chain(self.far.slots.iter())
    }

    pub(super) fn len(&self) -> usize {
        self.near.slots.len() + self.far.slots.len()
    }

    /// Where one of them stands; `None` only where there is nobody. Better one
    /// that is ejected than one that was tried, and better that than nobody.
    #[inline]
    pub(super) fn choose(&self, choice: &Choice<'_>) -> Option<Place> {
        let doubted = || self.choose_admitted(&Choice { panic: true, ..*choice });
        self.choose_admitted(choice).or_else(doubted).or_else(|| self.anybody())
    }

    #[inline]
    fn choose_admitted(&self, choice: &Choice<'_>) -> Option<Place> {
        let near = match &choice.options.balance {
            Balance::LeastLoaded => return self.least_loaded(choice),
            Balance::Weighted => self.near.by_weight(choice),
            Balance::Hash(bounded) => match choice.key {
                Some(key) => self.near.by_hash(bounded, key, choice),
                None => return self.least_loaded(choice),
            },
            Balance::Sticky => self.sticky(choice),
        };
        let far = || self.far.by_weight(choice).map(Place::Far);
        near.map(Place::Near).or_else(far)
    }

    /// Who stands there.
    #[inline]
    pub(super) fn at(&self, place: Place) -> &Slot {
        match place {
            Place::Near(place) => self.near.slots.get(place),
            Place::Far(place) => self.far.slots.get(place),
        }
    }

    #[inline]
    fn least_loaded(&self, choice: &Choice<'_>) -> Option<Place> {
        let near = self.near.better_of_two(choice).map(Place::Near);
        if self.far.slots.len() == 0 {
            return near;
        }
        let far = self.far.better_of_two(choice).map(Place::Far);
        match (near, far, &choice.options.zone) {
            (Some(near), Some(far), Some(zone)) => {
                let handicap = u64::from(zone.handicap);
                let stays = p2c::is_better(self.at(near), self.at(far), handicap, choice.now);
                Some(if stays { near } else { far })
            }
            (near, far, _) => near.or(far),
        }
    }

    /// The primary; where it cannot be picked, a new one.
    fn sticky(&self, choice: &Choice<'_>) -> Option<usize> {
        let place = self.primary.load(Ordering::Relaxed);
        if self.near.at(place).is_some_and(|slot| choice.admits(slot)) {
            return Some(place as usize);
        }
        let place = self.near.by_weight(choice)?;
        self.primary.store(place as u32, Ordering::Relaxed);
        Some(place)
    }

    /// When everybody was tried.
    fn anybody(&self) -> Option<Place> {
        let near = self.near.slots.choose(fastrand::u64(..)).map(Place::Near);
        near.or_else(|| self.far.slots.choose(fastrand::u64(..)).map(Place::Far))
    }

    fn keep_primary(&mut self, before: &Self) {
        let primary = before.near.at(before.primary.load(Ordering::Relaxed));
        let Some(primary) = primary else { return };
        let is = |slot: &Slot| Arc::ptr_eq(&slot.node, &primary.node);
        if let Some(place) = self.near.slots.iter().position(is) {
            self.primary = AtomicU32::new(place as u32);
        }
    }
}

impl Group {
    fn new(slots: Vec<Slot>, hashed: bool) -> Self {
        let weight = slots.iter().map(|slot| u64::from(slot.weight)).sum();
        let weighed = slots.into_iter().map(|slot| {
            let weight = slot.weight;
            (slot, weight)
        });
        let slots = AliasTable::new(weighed);
        let ring = if hashed { Ring::new(slots.iter()) } else { Ring::default() };
        Self { slots, ring, weight }
    }

    fn at(&self, place: u32) -> Option<&Slot> {
        let place = place as usize;
        (place < self.slots.len()).then(|| self.slots.get(place))
    }

    #[inline]
    fn better_of_two(&self, choice: &Choice<'_>) -> Option<usize> {
        let first = self.slots.choose(fastrand::u64(..))?;
        let mut second = self.slots.choose(fastrand::u64(..))?;
        if second == first {
            second = if first + 1 == self.slots.len() { 0 } else { first + 1 };
        }
        let (a, b) = (self.slots.get(first), self.slots.get(second));
        match (choice.admits(a), choice.admits(b)) {
            (true, true) if p2c::is_better(a, b, 1, choice.now) => Some(first),
            (true, false) => Some(first),
            (_, true) => Some(second),
            (false, false) => self.next_admitted(first, choice),
        }
    }

    fn by_weight(&self, choice: &Choice<'_>) -> Option<usize> {
        let place = self.slots.choose(fastrand::u64(..))?;
        match choice.admits(self.slots.get(place)) {
            true => Some(place),
            false => self.next_admitted(place, choice),
        }
    }

    /// Somebody who may be picked, from a place on.
    fn next_admitted(&self, from: usize, choice: &Choice<'_>) -> Option<usize> {
        let count = self.slots.len();
        let mut places = (0..count).map(|step| (from + step) % count);
        places.find(|place| choice.admits(self.slots.get(*place)))
    }

    fn by_hash(&self, bounded: &BoundedHash, key: u64, choice: &Choice<'_>) -> Option<usize> {
        let (all, count) = (f64::from(choice.in_flight) + 1.0, self.slots.len() as f64);
        let has_room = |slot: &Slot| {
            let share = match self.weight {
                0 => 1.0 / count,
                total => f64::from(slot.weight) / total as f64,
            };
            f64::from(slot.node.in_flight()) < (bounded.bound * all * share).ceil()
        };
        self.ring.from(key).find(|place| {
            let slot = self.slots.get(*place);
            choice.admits(slot) && has_room(slot)
        })
    }
}

impl Choice<'_> {
    /// Whether a slot may be picked for this call.
    #[inline]
    fn admits(&self, slot: &Slot) -> bool {
        let ejected = !self.panic && slot.node.is_ejected(self.now);
        !ejected && !self.tried.iter().any(|node| Arc::ptr_eq(node, &slot.node))
    }
}

fn life(instance: &Instance) -> (&InstanceId, Epoch) {
    (&instance.id, instance.epoch)
}

/// Where in its record an instance says how to call the service over a wire.
pub(super) fn places(
    instance: &Instance,
    service: &ServiceName,
    caller: &dyn Caller,
) -> Option<(usize, usize)> {
    let offer = instance.offers.iter().position(|offer| offer.service == *service)?;
    let mut addresses = instance.offers[offer].addresses.iter();
    Some((offer, addresses.position(|address| caller.speaks(address))?))
}

fn endpoints(followed: &Followed) -> HashMap<String, Facts> {
    let declared = followed.service.iter().flat_map(|record| record.spec.endpoints.iter());
    declared.map(|e| (e.name.clone(), Facts { sla: e.sla, idempotent: e.idempotent })).collect()
}
