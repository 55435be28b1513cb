//! What one change costs a watcher, and how often a picker's array is rebuilt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend_memory::{MemoryOptions, MemoryStore};
use futures_util::FutureExt;
use portolan::*;
use tokio::runtime::Runtime;

use crate::allocations;
use crate::rounds::Table;

const WATCHERS: usize = 1_000;

fn spec(name: &str, weight: u32) -> InstanceSpec {
    let terms = LeaseTerms::new(LeaseTerms::MAX, LeaseTerms::MAX).expect("ordered");
    let service = ServiceName::parse("s").expect("a literal");
    let address = Address::parse("thrift://10.0.0.1:80").expect("a literal");
    let offer = Offer::new(service, address).with_weight(weight);
    let id = InstanceId::parse(name).expect("an id");
    InstanceSpec::new(id, [offer]).with_epoch(Epoch(1)).with_terms(terms)
}

/// Events and bytes per watcher for one change of a service of this size.
async fn cost(size: usize) -> (f64, f64) {
    let store = MemoryStore::new(Arc::new(SystemClock), MemoryOptions::new(Era(1)));
    let registry = store.handle(&Namespace::default());
    let specs: Vec<_> = (0..size).map(|n| spec(&format!("i{n}"), 1)).collect();
    registry.connect(&specs).await.expect("memory connects");
    let scope = Scope::service(ServiceName::parse("s").expect("a literal"));
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        let mut watch = registry.watch(&scope, WatchFrom::Now).await.expect("memory watches");
        watch.next().await;
        assert!(watch.next().now_or_never().is_none(), "nothing is to be told yet");
        watches.push(watch);
    }
    const CHANGES: u32 = 20;
    let (mut events, mut bytes) = (0, 0);
    for change in 0..CHANGES {
        registry.connect(&[spec("i0", change + 2)]).await.expect("memory connects");
        let before = allocations::bytes();
        for watch in &mut watches {
            while let Some(Some(Ok(item))) = watch.next().now_or_never() {
                if let WatchItem::Changes { events: told, .. } = item {
                    events += told.len();
                }
            }
        }
        bytes += allocations::bytes() - before;
    }
    let all = f64::from(CHANGES) * WATCHERS as f64;
    (events as f64 / all, bytes as f64 / all)
}

/// How often the view was rebuilt per 5 ms of constant churn.
async fn rebuilds() -> f64 {
    let client = Client::open("memory:").await.expect("memory opens");
    let view = client.follow(&ServiceName::parse("s").expect("a literal"));
    client.registry().connect(&[spec("i0", 1)]).await.expect("memory connects");
    view.ready().await.expect("memory answers");
    let begun = Instant::now();
    let (mut rebuilt, mut seen, mut weight) = (0, view.current(), 2);
    while begun.elapsed() < Duration::from_secs(1) {
        weight += 1;
        client.registry().connect(&[spec("i0", weight)]).await.expect("memory connects");
        tokio::task::yield_now().await;
        let current = view.current();
        if !Arc::ptr_eq(&current, &seen) {
            rebuilt += 1;
            seen = current;
        }
    }
    f64::from(rebuilt) / (begun.elapsed().as_secs_f64() / 0.005)
}

pub fn measure(runtime: &Runtime, table: &mut Table) {
    let (small, large) = (runtime.block_on(cost(10)), runtime.block_on(cost(10_000)));
    table.figure("one change, 10,000 instances: events per watcher", large.0, 1.0);
    table.figure("events per watcher, 10,000 instances / 10", large.0 / small.0, 1.0);
    table.figure("bytes per watcher, 10,000 instances / 10", large.1 / small.1, 1.1);
    table.figure("rebuilds of a picker per 5 ms of churn", runtime.block_on(rebuilds()), 1.0);
}
