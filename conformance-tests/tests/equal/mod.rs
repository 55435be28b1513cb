//! Random commands, given to a backend and to the kernel in memory, have equal
//! results: answers, errors, views, and what watchers are told.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::fixtures::{address, id, owner, service};
use conformance_tests::own::{Outcome, check};
use portolan::{
    Beat, Epoch, Era, InstanceRef, InstanceSpec, KeyChange, KeyHash, LeaseTerms, Metadata,
    Namespace, Offer, Phase, Query, Registration, RegistrationMode, Registry, Result, Revision,
    Scope, ServiceSpec, SystemClock, WatchFrom, WatchItem, WatchStream,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Names that a collation, a pattern, a quote or a placeholder could spoil.
const NAMES: [&str; 9] = ["a", "A", "ab", "a%", "a_", "é", "e\u{301}", "';DROP--\"\\", "🦀$1{now}"];
const IDS: [&str; 8] =
    ["i", "I", "i ", "%", "_", "'; DROP TABLE portolan_leases; --", "\\\"{among $1}", "🦀/é\u{a0}"];

/// What is compared with the kernel.
#[async_trait]
pub(crate) trait Side: Send + Sync {
    /// A registry that nobody has used.
    async fn fresh(&self) -> Result<Box<dyn Fresh>, Outcome>;

    /// Whether it numbers its writes from 1, and so chooses the same epochs.
    fn chooses_epochs(&self) -> bool;
}

/// One registry, to be opened several times.
#[async_trait]
pub(crate) trait Fresh: Send + Sync {
    async fn open(&self) -> Result<Arc<dyn Registry>, Outcome>;
}

/// Terms that end in no case.
fn lasting() -> LeaseTerms {
    LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200)).expect("ordered")
}

/// An id, an epoch, a phase, and offers with their weights.
type Spec = (&'static str, Option<u64>, Phase, Vec<(&'static str, u32)>);

#[derive(Clone, Debug)]
enum Op {
    Register(&'static str, RegistrationMode, KeyChange, Vec<(&'static str, u8)>),
    Deregister(&'static str, Vec<&'static str>),
    Connect(Vec<Spec>),
    Disconnect(Vec<(&'static str, u64)>),
    Beat(Vec<(&'static str, u64)>),
    Resolve(Scope),
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&NAMES[..])
}

fn at() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&IDS[..])
}

fn op() -> impl Strategy<Value = Op> {
    use RegistrationMode::{Create, Merge, Replace};
    let by = || proptest::sample::select(&["o", "O", "o'%"][..]);
    let mode = proptest::sample::select(&[Create, Merge, Replace][..]);
    let key = || (0..3_u8).prop_map(|n| KeyHash([n; 32]));
    let keys = prop_oneof![
        3 => Just(KeyChange::Keep),
        1 => key().prop_map(KeyChange::Add),
        1 => key().prop_map(KeyChange::Revoke),
    ];
    let phase = proptest::sample::select(&[Phase::Starting, Phase::Ready, Phase::Draining][..]);
    let spec = (at(), option::of(0..4_u64), phase, vec((name(), 0..3_u32), 0..3));
    let lives = || vec((at(), 0..4_u64), 0..4);
    let scope = prop_oneof![
        Just(Scope::All),
        Just(Scope::Declarations),
        at().prop_map(|at| Scope::Instance(id(at))),
        vec(name(), 1..4)
            .prop_map(|names| Scope::Services(names.into_iter().map(service).collect())),
    ];
    prop_oneof![
        3 => (by(), mode, keys, vec((name(), 0..3_u8), 0..3))
            .prop_map(|(by, mode, keys, specs)| Op::Register(by, mode, keys, specs)),
        1 => (by(), vec(name(), 0..3)).prop_map(|(by, names)| Op::Deregister(by, names)),
        5 => vec(spec, 0..4).prop_map(Op::Connect),
        2 => lives().prop_map(Op::Disconnect),
        2 => lives().prop_map(Op::Beat),
        2 => scope.prop_map(Op::Resolve),
    ]
}

/// What a registry answers, as far as anybody can tell.
async fn answer(registry: &dyn Registry, op: &Op) -> String {
    match op {
        Op::Register(by, mode, keys, specs) => {
            let spec = |(name, version): &(&str, u8)| {
                ServiceSpec::new(service(name)).with_version(version.to_string())
            };
            let registration =
                Registration::new(owner(by), *mode, specs.iter().map(spec).collect());
            told(registry.register(registration.with_keys(keys.clone())).await)
        }
        Op::Deregister(by, names) => {
            let names: Vec<_> = names.iter().map(|name| service(name)).collect();
            told(registry.deregister(&owner(by), &names).await)
        }
        Op::Connect(specs) => {
            let specs: Vec<_> = specs.iter().map(spec).collect();
            let answers = registry.connect(&specs).await;
            told(answers.map(|answers| answers.into_iter().map(told).collect::<Vec<_>>()))
        }
        Op::Disconnect(lives) => {
            let life = |(at, epoch): &(&str, u64)| InstanceRef { id: id(at), epoch: Epoch(*epoch) };
            told(registry.disconnect(&lives.iter().map(life).collect::<Vec<_>>()).await)
        }
        Op::Beat(lives) => {
            let beat =
                |(at, epoch): &(&str, u64)| Beat { id: id(at), epoch: Epoch(*epoch), token: None };
            told(registry.heartbeat(&lives.iter().map(beat).collect::<Vec<_>>()).await)
        }
        Op::Resolve(scope) => told(registry.resolve(&Query::of(scope.clone())).await),
    }
}

fn spec((at, epoch, phase, offers): &Spec) -> InstanceSpec {
    let offer = |(name, weight): &(&str, u32)| {
        let metadata = Metadata::new([("k'\"\\", *name), ("é", "\u{1F980}")]).expect("a literal");
        Offer::new(service(name), address("thrift://10.0.0.1:9000"))
            .with_weight(*weight)
            .with_metadata(metadata)
    };
    let mut spec = InstanceSpec::new(id(at), offers.iter().map(offer)).with_phase(*phase);
    spec.epoch = epoch.map(Epoch);
    spec.with_terms(lasting())
}

/// An answer with nothing that may differ.
fn told<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{:?} {:?}", error.kind(), error.facts().collect::<Vec<_>>()),
    }
}

/// The items of a watch up to a revision.
async fn watched(watch: &mut WatchStream, until: u64) -> Vec<String> {
    let mut items = Vec::new();
    loop {
        let item = tokio::time::timeout(std::time::Duration::from_secs(5), watch.next()).await;
        match item {
            Ok(Some(Ok(WatchItem::Progress(_)))) => {}
            Ok(Some(Ok(item))) => {
                let reached = item.revision().number;
                items.push(format!("{item:?}"));
                if reached >= until {
                    return items;
                }
            }
            other => {
                items.push(format!("{other:?}"));
                return items;
            }
        }
    }
}

/// Which revisions of the other mean which of the kernel.
#[derive(Default)]
struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    /// Both have got this far with the same commands.
    fn pair(&mut self, kernel: Revision, other: Revision) -> Result<(), Outcome> {
        let known = self.0.insert(other.number, kernel.number);
        let before = self.0.range(..other.number).next_back().map(|(_, kernel)| *kernel);
        let grew = before.is_none_or(|before| before < kernel.number);
        let same = known.is_none_or(|known| known == kernel.number);
        check(grew && same, format_args!("{other} is a write of one of them, {kernel}"))
    }

    /// A text with the kernel's revisions in it.
    fn translate(&self, text: &str) -> String {
        let mut parts = text.split("era: Era(");
        let mut translated = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (_, rest) = part.split_once("number: ").unwrap_or((part, ""));
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..end].parse().unwrap_or(u64::MAX);
            let known = self.0.get(&number).map_or(format!("?{number}"), u64::to_string);
            translated.push_str(&known);
            translated.push_str(&rest[end..]);
        }
        translated
    }

    fn same(kernel: &str) -> String {
        let numbers = Self((0..1_000).map(|n| (n, n)).collect());
        numbers.translate(kernel)
    }
}

async fn compare(side: &dyn Side, ops: &[Op]) -> Result<(), Outcome> {
    let fresh = side.fresh().await?;
    let other = fresh.open().await?;
    let store = MemoryStore::new(Arc::new(SystemClock), MemoryOptions::new(Era(7)));
    let kernel = store.handle(&Namespace::default());
    let mut numbers = Numbers::default();
    let mut watches = Vec::new();
    for registry in [&kernel, &other] {
        watches.push(registry.watch(&Scope::All, WatchFrom::Now).await?);
    }
    let start = other.resolve(&Query::all()).await?.revision;
    let mut until = [kernel.resolve(&Query::all()).await?.revision, start];
    numbers.pair(until[0], until[1])?;
    for op in ops {
        let op = if side.chooses_epochs() { op.clone() } else { op.clone().with_epochs() };
        let (expected, seen) = (answer(&*kernel, &op).await, answer(&*other, &op).await);
        until = [
            kernel.resolve(&Query::all()).await?.revision,
            other.resolve(&Query::all()).await?.revision,
        ];
        numbers.pair(until[0], until[1])?;
        let (expected, seen) = (Numbers::same(&expected), numbers.translate(&seen));
        let what = format!("{op:?}:\nthe kernel says {expected}\nthe other {seen}");
        check(expected == seen, what)?;
    }
    let told = Numbers::same(&format!("{:#?}", watched(&mut watches[0], until[0].number).await));
    let seen = watched(&mut watches[1], until[1].number).await;
    let seen = numbers.translate(&format!("{seen:#?}"));
    check(told == seen, format_args!("the kernel's watcher saw {told}\nthe other's {seen}"))?;
    // And a process that comes later sees the same, from the start.
    let mut late = fresh.open().await?.watch(&Scope::All, WatchFrom::Revision(start)).await?;
    if until[0].number == 0 {
        return Ok(());
    }
    let late = watched(&mut late, until[1].number).await;
    // The first item of the others is the Reset of an empty registry.
    let mut replayed = watches_of(&kernel, until[0].era).await?;
    let expected = watched(&mut replayed, until[0].number).await;
    let expected = Numbers::same(&format!("{expected:#?}"));
    let late = numbers.translate(&format!("{late:#?}"));
    check(late == expected, format_args!("a resumed watch saw {late}\ninstead of {expected}"))
}

/// The kernel's own watch from the start.
async fn watches_of(kernel: &Arc<dyn Registry>, era: Era) -> Result<WatchStream, Outcome> {
    let from = WatchFrom::Revision(Revision { era, number: 0 });
    Ok(kernel.watch(&Scope::All, from).await?)
}

impl Op {
    /// The same, with epochs where the registry was to choose them. An instance that
    /// is named twice is told of once, as what became of it.
    fn with_epochs(mut self) -> Self {
        if let Self::Connect(specs) = &mut self {
            specs.iter_mut().for_each(|(_, epoch, ..)| *epoch = epoch.or(Some(2)));
            let mut seen = std::collections::BTreeSet::new();
            specs.retain(|(id, ..)| seen.insert(*id));
        }
        self
    }
}

/// Commands that were once answered in another way.
fn known() -> Vec<Vec<Op>> {
    let joins = |id| Op::Connect(vec![(id, None, Phase::Starting, Vec::new())]);
    // Two leave, and the second is named before by a life that it had not.
    let leave = Op::Disconnect(vec![(IDS[5], 0), (IDS[6], 2), (IDS[5], 2)]);
    vec![vec![joins(IDS[6]), joins(IDS[5]), leave]]
}

/// So many lists of commands; `PROPTEST_CASES` asks for more.
fn runs() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default().cases,
        None => 24,
    }
}

/// Tries lists of commands until one makes a difference.
pub(crate) async fn random_commands(side: &dyn Side) -> Result<(), Outcome> {
    // What cannot be there is told before anything is tried.
    drop(side.fresh().await?.open().await?);
    for ops in known() {
        compare(side, &ops).await?;
    }
    let runtime = tokio::runtime::Handle::current();
    let tried = tokio::task::block_in_place(|| {
        let config = Config { cases: runs(), failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&vec(op(), 1..40), |ops| {
            let compared = runtime.block_on(compare(side, &ops));
            compared.map_err(|outcome| TestCaseError::fail(format!("{outcome:?}")))
        })
    });
    tried.map_err(|error| Outcome::Broken(error.to_string()))
}
