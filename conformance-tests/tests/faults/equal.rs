//! Random commands, given to a database and to the kernel in memory, have equal
//! results: answers, errors, views, and what watchers are told.

use std::fmt::Debug;
use std::sync::Arc;

use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::fixtures::{address, id, owner, service};
use portolan::{
    Beat, Epoch, Era, InstanceRef, InstanceSpec, KeyChange, KeyHash, Metadata, Namespace, Offer,
    Phase, Query, Registration, RegistrationMode, Registry, Result, Scope, ServiceSpec,
    SystemClock, WatchFrom, WatchItem, WatchStream,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::contention::lasting;
use super::{Database, Outcome, Place};

/// Names that a collation, a pattern, a quote or a placeholder could spoil.
const NAMES: [&str; 9] = ["a", "A", "ab", "a%", "a_", "é", "e\u{301}", "';DROP--\"\\", "🦀$1{now}"];
const IDS: [&str; 8] =
    ["i", "I", "i ", "%", "_", "'; DROP TABLE portolan_leases; --", "\\\"{among $1}", "🦀/é\u{a0}"];
const ERA: u64 = 7;

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

/// A database whose revisions look like those of the kernel.
async fn aligned(database: &Database) -> Result<Arc<dyn Registry>, Outcome> {
    drop(database.open().await?);
    let era = format!("UPDATE portolan_namespaces SET era = {ERA}");
    database.admin().await?.run(&era).await?;
    Ok(database.open().await?)
}

async fn compare(place: &Place, ops: &[Op]) -> Result<(), Outcome> {
    let database = place.database().await?;
    let sql = aligned(&database).await?;
    let store = MemoryStore::new(Arc::new(SystemClock), MemoryOptions::new(Era(ERA)));
    let kernel = store.handle(&Namespace::default());
    let mut watches = Vec::new();
    for registry in [&kernel, &sql] {
        watches.push(registry.watch(&Scope::All, WatchFrom::Now).await?);
    }
    for op in ops {
        let (expected, seen) = (answer(&*kernel, op).await, answer(&*sql, op).await);
        if expected != seen {
            let what = format!("{op:?}:\nthe kernel says {expected}\nthe database {seen}");
            return Err(Outcome::Broken(what));
        }
    }
    let everything = kernel.resolve(&Query::all()).await?;
    let until = everything.revision.number;
    let mut told = Vec::new();
    for watch in &mut watches {
        told.push(watched(watch, until).await);
    }
    if told[0] != told[1] {
        let what =
            format!("the kernel's watcher saw {:#?}\nthe database's {:#?}", told[0], told[1]);
        return Err(Outcome::Broken(what));
    }
    // And a process that comes later sees the same, from the start.
    let from = WatchFrom::Revision(portolan::Revision { era: Era(ERA), number: 0 });
    let mut late = database.open().await?.watch(&Scope::All, from).await?;
    let late = watched(&mut late, until).await;
    // The first item of the others is the Reset of an empty registry.
    if until > 0 && late[..] != told[0][1..] {
        let what = format!("a resumed watch saw {late:#?}\ninstead of {:#?}", &told[0][1..]);
        return Err(Outcome::Broken(what));
    }
    Ok(())
}

pub(super) async fn random_commands_have_the_results_of_the_kernel(
    place: &Place,
) -> Result<(), Outcome> {
    // What cannot be there is told before anything is tried.
    drop(place.database().await?.open().await?);
    let runtime = tokio::runtime::Handle::current();
    let tried = tokio::task::block_in_place(|| {
        let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&vec(op(), 1..40), |ops| {
            let compared = runtime.block_on(compare(place, &ops));
            compared.map_err(|outcome| TestCaseError::fail(format!("{outcome:?}")))
        })
    });
    tried.map_err(|error| Outcome::Broken(error.to_string()))
}
