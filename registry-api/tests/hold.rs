//! Mass expiry against everything else: the hold of the kernel, in time that is
//! passed in.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use registry_api::kernel::{Evidence, Hold, Replica};
use registry_api::{
    Address, Cause, Epoch, Era, Event, Health, Instance, InstanceId, InstanceSpec, LeaseTerms,
    Offer, Presence, Revision, ServiceName, Timestamp, View, WatchItem,
};

const TTL: Duration = Duration::from_secs(3);
const TTD: Duration = Duration::from_secs(9);

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(1000 + seconds)
}

fn id(n: usize) -> InstanceId {
    InstanceId::parse(&format!("i{n:03}")).unwrap()
}

fn revision(number: u64) -> Revision {
    Revision { era: Era(1), number }
}

fn instance(n: usize, address: &str) -> Instance {
    let service = ServiceName::parse("s").unwrap();
    let offer = Offer::new(service, Address::parse(address).unwrap());
    let terms = LeaseTerms::new(TTL, TTD).unwrap();
    let spec = InstanceSpec::new(id(n), [offer]).with_terms(terms);
    let presence = Arc::new(Presence::new(&spec, Epoch(1), revision(1)));
    Instance { presence, health: Health::Online }
}

/// A replica with its hold, as a follower keeps them.
struct Known {
    replica: Replica,
    hold: Hold,
}

impl Known {
    fn with(count: usize, address: &str) -> Self {
        let instances = (0..count).map(|n| instance(n, address)).collect();
        let mut known = Self { replica: Replica::new(), hold: Hold::new() };
        let view = View { revision: revision(1), services: Vec::new(), instances };
        known.take(WatchItem::Reset(view), at(0));
        known
    }

    fn take(&mut self, item: WatchItem, now: Timestamp) {
        self.hold.note(&self.replica, &item, now);
        self.replica.apply(item);
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>, now: Timestamp) {
        let events = events.into_iter().collect();
        self.take(WatchItem::Changes { revision: revision(1), events }, now);
    }

    fn routable(&self) -> usize {
        self.replica.instances().values().filter(|i| i.is_routable()).count()
    }

    fn judge(&mut self, now: Timestamp) -> usize {
        self.judge_beside(Evidence::default(), now)
    }

    fn judge_beside(&mut self, others: Evidence, now: Timestamp) -> usize {
        self.hold.settle(now);
        self.hold.judge(self.routable(), others, now);
        self.hold.held().count()
    }
}

fn offline(n: usize) -> Event {
    Event::Health { id: id(n), epoch: Epoch(1), health: Health::Offline }
}

fn online(n: usize) -> Event {
    Event::Health { id: id(n), epoch: Epoch(1), health: Health::Online }
}

fn removed(n: usize, cause: Cause) -> Event {
    Event::Remove { id: id(n), epoch: Epoch(1), cause }
}

#[test]
fn the_thresholds_are_three_and_more_than_half() {
    for (count, lost, held) in [(4, 2, 0), (4, 3, 3), (2, 2, 0), (6, 3, 0), (7, 4, 4), (30, 15, 0)]
    {
        let mut known = Known::with(count, "tcp://h:1");
        known.tell((0..lost).map(offline), at(1));
        assert_eq!(known.judge(at(1)), held, "{lost} of {count}");
    }
}

#[test]
fn losses_count_together_within_one_ttl() {
    let mut known = Known::with(4, "tcp://h:1");
    known.tell([offline(0)], at(0));
    assert_eq!(known.judge(at(0)), 0);
    known.tell([offline(1)], at(2));
    assert_eq!(known.judge(at(2)), 0);
    // The first is believed by now.
    known.tell([offline(2)], at(4));
    assert_eq!(known.judge(at(4)), 0);
    let mut known = Known::with(4, "tcp://h:1");
    for n in 0..3 {
        known.tell([offline(n)], at(n as u64));
        let held = known.judge(at(n as u64));
        assert_eq!(held, if n == 2 { 3 } else { 0 });
    }
}

#[test]
fn all_services_together_are_evidence_too() {
    let mut known = Known::with(2, "tcp://h:1");
    known.tell([offline(0)], at(1));
    assert_eq!(known.judge_beside(Evidence { routable: 120, lost: 18 }, at(1)), 0, "nineteen");
    assert_eq!(known.judge_beside(Evidence { routable: 120, lost: 19 }, at(1)), 0, "15 %");
    assert_eq!(known.judge_beside(Evidence { routable: 100, lost: 19 }, at(1)), 1);
}

#[test]
fn a_hold_ends_with_a_beat_a_leave_a_probe_or_time() {
    let mut known = Known::with(4, "tcp://h:1");
    known.tell((0..4).map(offline), at(0));
    assert_eq!(known.judge(at(0)), 4);
    assert_eq!(known.hold.probes(at(0)).len(), 4);
    assert_eq!(known.hold.probes(at(4)).len(), 0, "asked a moment ago");
    assert_eq!(known.hold.probes(at(5)).len(), 4);
    known.tell([online(0), removed(1, Cause::Deregistered)], at(5));
    assert!(known.hold.refuted(&instance(2, "tcp://h:1").reference()));
    assert_eq!(known.judge(at(5)), 1);
    known.tell([removed(3, Cause::Expired)], at(6));
    assert_eq!(known.judge(at(599)), 1, "delisting changes nothing");
    assert_eq!(known.judge(at(600)), 0);
    assert_eq!(known.hold.wake_at(), None);
}

#[test]
fn what_cannot_be_probed_is_held_for_its_ttd() {
    let mut known = Known::with(3, "reverse:g/c");
    known.tell((0..3).map(|n| removed(n, Cause::Expired)), at(0));
    assert_eq!(known.judge(at(0)), 3);
    assert!(known.hold.probes(at(0)).is_empty());
    assert_eq!(known.judge(at(8)), 3);
    assert_eq!(known.judge(at(9)), 0);
}

#[test]
fn a_reset_that_leaves_nobody_is_doubted_whatever_the_number() {
    let empty = |number, era| {
        let revision = Revision { era: Era(era), number };
        WatchItem::Reset(View { revision, services: Vec::new(), instances: Vec::new() })
    };
    let mut known = Known::with(1, "tcp://h:1");
    known.take(empty(1, 2), at(1));
    assert_eq!(known.judge(at(1)), 1);
    // One that left before is not missed.
    let mut known = Known::with(1, "tcp://h:1");
    known.tell([removed(0, Cause::Deregistered)], at(1));
    known.take(empty(1, 2), at(2));
    assert_eq!(known.judge(at(2)), 0);
}

#[derive(Clone, Debug)]
enum Op {
    Offline(usize),
    Online(usize),
    Gone(usize, Cause),
    Refuted(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let cause = prop_oneof![Just(Cause::Deregistered), Just(Cause::Expired), Just(Cause::Unknown)];
    prop_oneof![
        3 => (0_usize..8).prop_map(Op::Offline),
        2 => (0_usize..8).prop_map(Op::Online),
        2 => (0_usize..8, cause).prop_map(|(n, cause)| Op::Gone(n, cause)),
        1 => (0_usize..8).prop_map(Op::Refuted),
        2 => (0_u64..700).prop_map(Op::Pass),
    ]
}

proptest! {
    /// Whatever happens: who left or was refuted is not held, who is online is
    /// not held, and nobody is held for more than ten minutes.
    #[test]
    fn nobody_is_held_without_a_reason(ops in prop::collection::vec(op(), 1..60)) {
        let mut known = Known::with(8, "tcp://h:1");
        let (mut now, mut lost_at) = (0, [None::<u64>; 8]);
        for op in ops {
            match op {
                Op::Offline(n) => {
                    if known.replica.instances().get(&id(n)).is_some_and(Instance::is_routable) {
                        lost_at[n] = Some(now);
                    }
                    known.tell([offline(n)], at(now));
                }
                Op::Online(n) => {
                    if known.replica.instances().contains_key(&id(n)) {
                        lost_at[n] = None;
                        known.tell([online(n)], at(now));
                    }
                }
                Op::Gone(n, cause) => {
                    let there = known.replica.instances().get(&id(n)).is_some_and(Instance::is_routable);
                    if cause == Cause::Deregistered {
                        lost_at[n] = None;
                    } else if there {
                        lost_at[n] = Some(now);
                    }
                    known.tell([removed(n, cause)], at(now));
                }
                Op::Refuted(n) => {
                    if known.hold.refuted(&instance(n, "tcp://h:1").reference()) {
                        lost_at[n] = None;
                    }
                }
                Op::Pass(seconds) => now += seconds,
            }
            known.judge(at(now));
            let held: Vec<_> = known.hold.held().map(|held| held.id.clone()).collect();
            for (n, lost_at) in lost_at.iter().enumerate() {
                if held.contains(&id(n)) {
                    let since = lost_at.expect("it was lost without leaving");
                    prop_assert!(now - since < 600);
                }
            }
            if let Some(wake) = known.hold.wake_at() {
                prop_assert!(wake > at(now) || !known.hold.probes(at(now)).is_empty());
            }
        }
    }
}
