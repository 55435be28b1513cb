//! Random commands and clock jumps: the kernel against a naive model.
#![allow(missing_docs, clippy::unwrap_used)]

mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::time::Duration;

use naive::{Beaten, Mode, Naive, TTD, TTL};
use proptest::prelude::*;
use registry_api::kernel::{Command, Cursor, LeaseTable, Outcome, Replica, State};
use registry_api::{
    Address, BeatOutcome, Epoch, Era, Health, InstanceId, InstanceRef, InstanceSpec, LeaseTerms,
    Offer, Owner, Query, Registration, RegistrationMode, Revision, Scope, ServiceName, ServiceSpec,
    Timestamp, View, WatchFrom,
};

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Beat(u8, u64),
    Connect(u8, Option<u64>, u8, BTreeSet<u8>),
    Deregister(u8, u8),
    Disconnect(u8, u64),
    Register(u8, Mode, BTreeMap<u8, u8>),
    Resume,
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    let services = || prop::collection::btree_set(0_u8..3, 0..3);
    let mode = prop_oneof![Just(Mode::Create), Just(Mode::Merge), Just(Mode::Replace)];
    let declared = prop::collection::btree_map(0_u8..4, 0_u8..2, 0..3);
    prop_oneof![
        3 => prop_oneof![0..TTL, Just(TTL), TTL..TTD, Just(TTD), Just(3 * TTD)].prop_map(Op::Advance),
        4 => (0_u8..4, 1_u64..5).prop_map(|(id, epoch)| Op::Beat(id, epoch)),
        4 => (0_u8..4, prop::option::of(1_u64..5), 0_u8..2, services())
            .prop_map(|(id, epoch, data, services)| Op::Connect(id, epoch, data, services)),
        1 => (0_u8..2, 0_u8..4).prop_map(|(owner, name)| Op::Deregister(owner, name)),
        2 => (0_u8..4, 1_u64..5).prop_map(|(id, epoch)| Op::Disconnect(id, epoch)),
        2 => (0_u8..2, mode, declared).prop_map(|(o, m, names)| Op::Register(o, m, names)),
        1 => Just(Op::Resume),
        3 => Just(Op::Sweep),
    ]
}

/// The kernel parts, composed as the memory backend composes them.
struct Kernel {
    state: State,
    leases: LeaseTable,
    now: Timestamp,
}

impl Kernel {
    fn sweep(&mut self) {
        let sweep = self.leases.sweep(self.now);
        self.state.settle(sweep.transitions);
    }

    fn expire(&mut self, id: &InstanceId) {
        let over = self.leases.expire([id], self.now);
        self.state.settle(over);
    }

    fn view(&self, query: &Query) -> View {
        self.state.read(query, &self.leases, self.now).unwrap()
    }
}

/// A watcher that keeps what it was told, and checks that it makes sense.
struct Watcher {
    cursor: Cursor,
    replica: Replica,
}

impl Watcher {
    fn new(state: &State, scope: Scope, from: WatchFrom, replica: Replica) -> Self {
        let cursor = state.cursor(scope, from);
        Self { cursor, replica }
    }

    fn read(&mut self, state: &State) {
        let mut last: Option<Revision> = self.replica.revision();
        while let Some(item) = state.poll(&mut self.cursor) {
            let revision = item.revision();
            assert!(last.is_none_or(|last| last <= revision), "went backwards");
            last = Some(revision);
            assert!(self.replica.apply(item));
        }
    }
}

fn name(n: u8) -> ServiceName {
    ServiceName::parse(&format!("s{n}")).unwrap()
}

fn id(n: u8) -> InstanceId {
    InstanceId::parse(&format!("{n}")).unwrap()
}

fn owner(n: u8) -> Owner {
    Owner::parse(&format!("o{n}")).unwrap()
}

fn spec(n: u8, epoch: Option<u64>, data: u8, services: &BTreeSet<u8>) -> InstanceSpec {
    let address = Address::parse("tcp://10.0.0.1:1").unwrap();
    let offer = |s: &u8| Offer::new(name(*s), address.clone()).with_zone(&data.to_string());
    let ms = Duration::from_millis;
    let mut spec = InstanceSpec::new(id(n), services.iter().map(offer))
        .with_terms(LeaseTerms::new(ms(TTL), ms(TTD)).unwrap());
    // The data is kept where an instance without offers has it too.
    spec.phase = match data {
        0 => registry_api::Phase::Ready,
        _ => registry_api::Phase::Draining,
    };
    spec.epoch = epoch.map(Epoch);
    spec
}

fn run(op: &Op, kernel: &mut Kernel, naive: &mut Naive) {
    match op {
        Op::Advance(ms) => {
            kernel.now = kernel.now + Duration::from_millis(*ms);
            naive.advance(*ms);
        }
        Op::Beat(n, epoch) => {
            let outcome = kernel.leases.beat(&id(*n), Epoch(*epoch), kernel.now);
            let expected = match naive.beat(*n, *epoch) {
                Beaten::Renewed => BeatOutcome::Renewed,
                Beaten::Revived => BeatOutcome::Revived,
                // A life that is over and not swept yet answers Unknown to all.
                Beaten::Superseded => BeatOutcome::Superseded,
                Beaten::Unknown => BeatOutcome::Unknown,
            };
            let stale = outcome == BeatOutcome::Superseded && expected == BeatOutcome::Unknown;
            assert!(outcome == expected || stale, "{outcome:?} is not {expected:?}");
        }
        Op::Connect(n, epoch, data, services) => {
            kernel.expire(&id(*n));
            let command = Command::Connect(vec![spec(*n, *epoch, *data, services)]);
            let Outcome::Connected(mut answers) = kernel.state.write(command) else {
                panic!("a connect answers Connected");
            };
            let answer = answers.remove(0).ok();
            let chosen = answer.as_ref().map(|p| p.epoch.0);
            assert_eq!(chosen, naive.connect(*n, *epoch, chosen, *data, services));
            if let Some(p) = answer {
                kernel.leases.grant(&p.id, p.epoch, p.terms, kernel.now);
            }
        }
        Op::Deregister(o, n) => {
            let outcome = kernel.state.write(Command::Deregister(owner(*o), vec![name(*n)]));
            let Outcome::Done(done) = outcome else {
                panic!("a deregister answers Done");
            };
            assert_eq!(done.is_ok(), naive.deregister(*o, *n));
        }
        Op::Disconnect(n, epoch) => {
            let (id, epoch) = (id(*n), Epoch(*epoch));
            kernel.expire(&id);
            let reference = InstanceRef { id: id.clone(), epoch };
            kernel.state.write(Command::Disconnect(vec![reference]));
            kernel.leases.release(&id, epoch);
            naive.disconnect(*n, epoch.0);
        }
        Op::Register(o, mode, names) => {
            let services = names
                .iter()
                .map(|(n, data)| ServiceSpec::new(name(*n)).with_version(data.to_string()));
            let kernel_mode = match mode {
                Mode::Create => RegistrationMode::Create,
                Mode::Merge => RegistrationMode::Merge,
                Mode::Replace => RegistrationMode::Replace,
            };
            let registration = Registration::new(owner(*o), kernel_mode, services.collect());
            let Outcome::Registered(done) = kernel.state.write(Command::Register(registration))
            else {
                panic!("a register answers Registered");
            };
            assert_eq!(done.is_ok(), naive.register(*o, *mode, names));
        }
        Op::Resume => {}
        Op::Sweep => kernel.sweep(),
    }
}

/// A view in the model's terms.
fn seen(view: &View) -> BTreeMap<u8, (u64, u8, BTreeSet<u8>, bool)> {
    let number = |text: &str| text.trim_start_matches('s').parse::<u8>().unwrap();
    let instance = |i: &registry_api::Instance| {
        let services = i.offers.iter().map(|o| number(o.service.as_str())).collect();
        let data = u8::from(i.phase != registry_api::Phase::Ready);
        let online = i.health == Health::Online;
        (number(i.id.as_str()), (i.epoch.0, data, services, online))
    };
    view.instances.iter().map(instance).collect()
}

fn declared(view: &View) -> BTreeMap<String, (String, String)> {
    let service = |r: &std::sync::Arc<registry_api::ServiceRecord>| {
        let value = (r.owner.to_string(), r.spec.version.clone());
        (r.spec.name.to_string(), value)
    };
    view.services.iter().map(service).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn the_kernel_does_what_the_napkin_says(
        ops in prop::collection::vec(op(), 1..120),
        capacity in prop_oneof![Just(4_usize), Just(10_000)],
    ) {
        let mut naive = Naive::default();
        let mut kernel = Kernel {
            state: State::new(Era(1), capacity),
            leases: LeaseTable::with_hasher(RandomState::new()),
            now: Timestamp::ZERO,
        };
        let watch = |state: &State, scope| Watcher::new(state, scope, WatchFrom::Now, Replica::new());
        let mut fast = watch(&kernel.state, Scope::All);
        let mut slow = watch(&kernel.state, Scope::All);
        let one = Scope::service(name(1));
        let mut scoped = watch(&kernel.state, one.clone());
        let mut resumed = watch(&kernel.state, Scope::All);

        for op in &ops {
            run(op, &mut kernel, &mut naive);
            let view = kernel.view(&Query::all());
            prop_assert_eq!(seen(&view), naive.seen(), "after {:?}", op);
            let expected: BTreeMap<_, _> = naive.services.iter().map(|(n, d)| {
                (name(*n).to_string(), (owner(d.owner).to_string(), d.data.to_string()))
            }).collect();
            prop_assert_eq!(declared(&view), expected);

            fast.read(&kernel.state);
            scoped.read(&kernel.state);
            if let Op::Resume = op {
                resumed.read(&kernel.state);
            } else if let (Op::Sweep, Some(revision)) = (op, resumed.replica.revision()) {
                let from = WatchFrom::Revision(revision);
                resumed.replica.resume();
                resumed = Watcher::new(&kernel.state, Scope::All, from, resumed.replica);
            }
            if let Op::Sweep = op {
                prop_assert_eq!(seen(&fast.replica.view().unwrap()), naive.seen());
            }
        }

        kernel.sweep();
        for watcher in [&mut fast, &mut slow, &mut resumed, &mut scoped] {
            watcher.read(&kernel.state);
        }
        let told = fast.replica.view().unwrap();
        prop_assert_eq!(seen(&told), naive.seen());
        prop_assert_eq!(&slow.replica.view().unwrap(), &told);
        prop_assert_eq!(&resumed.replica.view().unwrap(), &told);
        let mut of_one = naive.seen();
        of_one.retain(|_, member| member.2.contains(&1));
        prop_assert_eq!(seen(&scoped.replica.view().unwrap()), of_one);
    }
}
