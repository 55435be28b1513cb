//! Why an instance is picked or not.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::time::Duration;

use registry_api::{Health, InstanceId, Phase, Scope};

use super::Core;
use super::node::{TICK, Tick};
use super::roster;
use super::slot::Slot;

/// What a channel thinks of one instance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The instance.
    pub id: InstanceId,
    /// Whether it is picked, and why not.
    pub verdict: Verdict,
    /// The registry doubts that it lives, and is doubted itself.
    pub held: bool,
    /// Its weight.
    pub weight: u32,
    /// Calls of this channel that it has not answered yet.
    pub in_flight: u32,
    /// Its average answer time, where it has answered.
    pub latency: Option<Duration>,
}

/// Whether an instance is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is draining, and others are ready.
    Draining,
    /// It failed too often in a row; for how long still.
    Ejected(Duration),
    /// It is in another zone, and picked when those nearby are slow or gone.
    Far,
    /// It does not match the channel's filter.
    Filtered,
    /// It has no address that the channel's wires speak.
    NoAddress,
    /// It has been silent for its ttl.
    Offline,
    /// It is picked.
    Picked,
    /// It has not said that it is ready.
    Starting,
}

impl Core {
    /// Every instance that is known, by id.
    pub(super) fn explain(&self) -> Vec<Explanation> {
        let now = self.tick(self.clock.now());
        let roster = self.roster.load_full();
        let panic = self.ejected.is_panic(roster.len());
        let scope = Scope::service(self.service.clone());
        let slots: HashMap<&InstanceId, &Slot> =
            roster.slots().map(|slot| (&slot.instance.id, slot)).collect();
        let instances = roster.followed.instances.iter();
        let explained = instances.map(|instance| {
            let slot = slots.get(&instance.id);
            let held = roster.followed.is_held(&instance.id);
            let verdict = match slot {
                Some(slot) if !panic && slot.node.is_ejected(now) => {
                    Verdict::Ejected(remaining(slot.node.ejected_until(), now))
                }
                Some(slot) if self.is_far(slot.offer()) => Verdict::Far,
                Some(_) => Verdict::Picked,
                None if instance.phase == Phase::Starting => Verdict::Starting,
                None if instance.health == Health::Offline && !held => Verdict::Offline,
                None if !self.options.filter.matches_offers(instance, &scope) => Verdict::Filtered,
                None if roster::places(instance, &self.service, &*self.caller).is_none() => {
                    Verdict::NoAddress
                }
                None => Verdict::Draining,
            };
            let latency = slot.map_or(0, |slot| slot.node.latency(now));
            Explanation {
                id: instance.id.clone(),
                verdict,
                held,
                weight: instance.offer(&self.service).map_or(0, |offer| offer.weight.0),
                in_flight: slot.map_or(0, |slot| slot.node.in_flight()),
                latency: (latency > 0).then(|| Duration::from_micros(latency.into())),
            }
        });
        explained.collect()
    }

    fn is_far(&self, offer: &registry_api::Offer) -> bool {
        self.options.zone.as_ref().is_some_and(|zone| *offer.zone != *zone.zone)
    }
}

fn remaining(until: Tick, now: Tick) -> Duration {
    TICK * until.saturating_sub(now)
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining, and others are ready"),
            Self::Ejected(left) => write!(f, "ejected for {} s", left.as_secs()),
            Self::Far => f.write_str("picked when its own zone is slow or gone"),
            Self::Filtered => f.write_str("does not match the filter"),
            Self::NoAddress => f.write_str("has no address this caller speaks"),
            Self::Offline => f.write_str("offline"),
            Self::Picked => f.write_str("picked"),
            Self::Starting => f.write_str("not ready yet"),
        }
    }
}
