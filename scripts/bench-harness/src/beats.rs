//! Beats by id at a million live instances, and what an instance costs.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use backend_memory::{MemoryOptions, MemoryStore};
use futures_util::FutureExt;
use portolan::*;
use registry_api::kernel::LeaseTable;
use tokio::runtime::Runtime;

use crate::allocations;
use crate::rounds::{Random, Table};

const LIVE: usize = 1_000_000;

fn text(n: usize) -> String {
    format!("01J{:023}", n * 7919)
}

pub fn measure(runtime: &Runtime, table: &mut Table) {
    let terms = LeaseTerms::new(LeaseTerms::MAX, LeaseTerms::MAX).expect("ordered");
    let keys: Vec<[u8; 26]> =
        (0..LIVE).map(|n| text(n).into_bytes().try_into().expect("26 bytes")).collect();
    let map: HashMap<[u8; 26], AtomicU64, ahash::RandomState> =
        keys.iter().map(|key| (*key, AtomicU64::new(0))).collect();
    let floor = |operations: u64| {
        let mut random = Random(7);
        for n in 0..operations {
            let key = &keys[(random.next() % LIVE as u64) as usize];
            map[key].store(n, Relaxed);
        }
    };

    let ids: Vec<InstanceId> =
        (0..LIVE).map(|n| InstanceId::parse(&text(n)).expect("an id")).collect();
    let leases = LeaseTable::with_hasher(ahash::RandomState::new());
    let now = Timestamp::from_nanos(1);
    for id in &ids {
        leases.grant(id, Epoch(1), terms, now);
    }
    // Ids gathered from all over memory, and beats one by one: what the table
    // costs where its caller does not batch. Shown, without a goal.
    for batch in [64, 1] {
        let name = format!("lease table: {batch} scattered ids at a time / the same floor");
        table.ratio(&name, f64::INFINITY, floor, |operations| {
            let mut random = Random(7);
            let mut id = || (&ids[(random.next() % LIVE as u64) as usize], Epoch(1));
            for n in 0..operations / batch + 1 {
                let beats = (0..batch).map(|_| id());
                black_box(leases.beats(beats, Timestamp::from_nanos(n)));
            }
        });
    }
    drop(leases);

    let before = allocations::held();
    let registry = runtime.block_on(populated(&ids, terms));
    let each = (allocations::held() - before) as f64 / LIVE as f64;
    table.figure("memory, 1 M instances: bytes each", each, 1024.0);

    let mut random = Random(7);
    let mut beat = || Beat {
        id: ids[(random.next() % LIVE as u64) as usize].clone(),
        epoch: Epoch(1),
        token: None,
    };
    let beats: Vec<Beat> = (0..LIVE).map(|_| beat()).collect();
    let mut chunks = beats.chunks(64).cycle();
    let name = "memory, 1 M live: beat by id, 64 a call, random order / hash map + atomic store";
    table.ratio(name, 1.5, floor, |operations| {
        for _ in 0..operations.div_ceil(64) {
            let chunk = chunks.next().expect("a cycle");
            black_box(registry.heartbeat(chunk).now_or_never());
        }
    });
}

/// A memory registry with a million instances.
async fn populated(ids: &[InstanceId], terms: LeaseTerms) -> Arc<dyn Registry> {
    let store = MemoryStore::new(Arc::new(SystemClock), MemoryOptions::new(Era(1)));
    let registry = store.handle(&Namespace::default());
    let services: Vec<_> = (0..100)
        .map(|n| ServiceName::parse(&format!("payments.api.v1.service-{n:03}")).expect("a name"))
        .collect();
    for (batch, ids) in ids.chunks(10_000).enumerate() {
        let spec = |(n, id): (usize, &InstanceId)| {
            let address =
                Address::host("thrift", &format!("10.{batch}.{}.{}", n >> 8, n & 255), 8080);
            let pairs = [("zone", "eu-west-1b"), ("version", "1.2.3"), ("host", "node-0123")];
            let offer = Offer::new(services[n % 100].clone(), address.expect("an address"))
                .with_metadata(Metadata::new(pairs).expect("pairs"));
            InstanceSpec::new(id.clone(), [offer]).with_terms(terms)
        };
        let specs: Vec<_> = ids.iter().enumerate().map(spec).collect();
        registry.connect(&specs).await.expect("memory connects");
    }
    registry
}
