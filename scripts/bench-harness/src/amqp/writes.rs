//! Instances that join and services that are declared: each is an entry of the log,
//! folded when it comes back. The floor folds nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan::*;
use tokio::runtime::Runtime;

use super::bare::Bare;
use super::loops;
use crate::rounds::Table;

pub fn measure(runtime: &Runtime, table: &mut Table, address: &str) {
    let bare = runtime.block_on(Bare::open(address, "bare-writes"));
    let url = format!("amqp://{address}/?prefix=writes");
    let registry = runtime.block_on(open(&url)).expect("it opens");
    let next = AtomicU64::new(0);
    for at_once in [1, 64] {
        let floor = |operations| {
            runtime.block_on(loops(operations, at_once, || bare.pass(300)));
        };
        let name = format!("amqp: connect, {at_once} at a time / a bare message there and back");
        table.rate(&name, 0.7, floor, |operations| {
            let connect = || connect(&registry, next.fetch_add(1, Ordering::Relaxed));
            runtime.block_on(loops(operations, at_once, connect));
        });
        let name = format!("amqp: register, {at_once} at a time / the same");
        table.rate(&name, 0.7, floor, |operations| {
            let register = || register(&registry, next.fetch_add(1, Ordering::Relaxed));
            runtime.block_on(loops(operations, at_once, register));
        });
    }
    beats(runtime, table, &bare, &registry);
}

/// Ten thousand instances beat as one message, which all processes hear: as many
/// bytes there and back is the floor.
fn beats(runtime: &Runtime, table: &mut Table, bare: &Bare, registry: &Arc<dyn Registry>) {
    const INSTANCES: u64 = 10_000;
    let specs: Vec<_> = (0..INSTANCES).map(spec).collect();
    let leases = runtime.block_on(registry.connect(&specs)).expect("they connect");
    let beats: Vec<_> = leases.into_iter().map(|l| l.expect("it connects").beat()).collect();
    let bytes = serde_json::to_vec(
        &beats.iter().map(|b| (b.id.as_str(), b.epoch.0)).collect::<Vec<_>>(),
    );
    let bytes = bytes.expect("texts and numbers").len();
    let name = "amqp: 10,000 instances beat / a bare message of as many bytes there and back";
    let floor = |operations| runtime.block_on(loops(operations, 1, || bare.pass(bytes)));
    table.rate(name, 0.0, floor, |operations| {
        runtime.block_on(loops(operations, 1, || async {
            registry.heartbeat(&beats).await.expect("they beat");
        }));
    });
}

/// An instance that lasts, with an id as most are.
fn spec(n: u64) -> InstanceSpec {
    let minutes = |n: u64| std::time::Duration::from_secs(n * 60);
    let terms = LeaseTerms::new(minutes(30), minutes(60)).expect("ordered");
    let service = ServiceName::parse("s").expect("a literal");
    let address = Address::parse("thrift://10.0.0.1:80").expect("a literal");
    let id = format!("3f2b8c1e-{:04x}-4d6a-9c1b-{:012x}", n % 65_536, n * 7919);
    let id = InstanceId::parse(&id).expect("an id");
    InstanceSpec::new(id, [Offer::new(service, address)]).with_epoch(Epoch(1)).with_terms(terms)
}

async fn connect(registry: &Arc<dyn Registry>, n: u64) {
    registry.connect_one(spec(n)).await.expect("it connects");
}

/// Declares a service of few anew, another one every time.
async fn register(registry: &Arc<dyn Registry>, n: u64) {
    let owner = Owner::parse("o").expect("a literal");
    let name = ServiceName::parse(&format!("service-{}", n % 64)).expect("a name");
    let spec = ServiceSpec::new(name).with_version(n.to_string());
    let registration = Registration::new(owner, RegistrationMode::Merge, vec![spec]);
    registry.register(registration).await.expect("it registers");
}
