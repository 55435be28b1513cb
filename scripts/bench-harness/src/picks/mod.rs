//! Picking from a held handle.

mod channel;
mod peers;

use std::cell::Cell;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use arc_swap::ArcSwap;
use portolan::*;
use tokio::runtime::Runtime;

use crate::allocations;
use crate::rounds::Table;

/// What a bare picker holds.
#[allow(dead_code)]
struct Bare {
    id: String,
    address: String,
    metadata: HashMap<String, String>,
    in_flight: AtomicU32,
}

thread_local! {
    static RANDOM: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) };
}

fn random() -> u64 {
    RANDOM.with(|cell| {
        let mut x = cell.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        cell.set(x);
        x
    })
}

fn p2c(instances: &[Arc<Bare>]) -> &Arc<Bare> {
    let (n, r) = (instances.len() as u64, random());
    let a = &instances[((r & 0xffff_ffff) * n >> 32) as usize];
    let b = &instances[((r >> 32) * n >> 32) as usize];
    if a.in_flight.load(Relaxed) <= b.in_flight.load(Relaxed) { a } else { b }
}

fn bare(count: usize) -> Arc<ArcSwap<Box<[Arc<Bare>]>>> {
    let instance = |n: usize| {
        Arc::new(Bare {
            id: format!("01J{n:023}"),
            address: format!("10.0.{}.{}:8080", n >> 8, n & 255),
            metadata: [("zone".to_owned(), "z1".to_owned())].into(),
            in_flight: AtomicU32::new((n % 7) as u32),
        })
    };
    Arc::new(ArcSwap::from_pointee((0..count).map(instance).collect()))
}

/// A service with this many instances, and a view of it.
struct Service {
    client: Client,
    name: ServiceName,
    view: ServiceView,
}

impl Service {
    async fn followed(count: usize) -> Self {
        let client = Client::open("memory:").await.expect("memory opens");
        let service = ServiceName::parse("s").expect("a literal");
        let terms = LeaseTerms::new(LeaseTerms::MAX, LeaseTerms::MAX).expect("ordered");
        let spec = |n: usize| {
            let address = Address::host("thrift", &format!("10.0.{}.{}", n >> 8, n & 255), 8080);
            let offer = Offer::new(service.clone(), address.expect("an address")).with_zone("z1");
            let id = InstanceId::parse(&format!("01J{n:023}")).expect("an id");
            InstanceSpec::new(id, [offer]).with_terms(terms)
        };
        let specs: Vec<_> = (0..count).map(spec).collect();
        client.registry().connect(&specs).await.expect("memory connects");
        let view = client.follow(&service);
        view.reached(|followed| followed.instances.len() == count).await;
        Self { client, name: service, view }
    }
}

pub fn measure(runtime: &Runtime, table: &mut Table) {
    for count in [3, 100, 10_000] {
        let floor = bare(count);
        let view = runtime.block_on(Service::followed(count)).view;
        let pick = view.clone();
        let name = format!("pick, {count} instances / arc-swap load + P2C, borrowed");
        table.ratio(
            &name,
            1.5,
            |operations| {
                for _ in 0..operations {
                    let snapshot = floor.load();
                    black_box(p2c(&snapshot).in_flight.load(Relaxed));
                }
            },
            |operations| picks(&pick, operations),
        );
        let before = allocations::count();
        for _ in 0..10_000 {
            black_box(view.pick().is_some());
        }
        let each = (allocations::count() - before) as f64 / 10_000.0;
        table.figure(&format!("pick, {count} instances: allocations each"), each, 0.0);
        table.ratio(
            &format!("pick, {count} instances: two threads / one, per pick"),
            1.0,
            |operations| threads(1, operations, |operations| picks(&view, operations)),
            |operations| threads(2, operations, |operations| picks(&view, operations)),
        );
    }
    let sizes = [100, 10_000].map(|count| runtime.block_on(Service::followed(count)).view);
    table.ratio(
        "pick, 10,000 instances / 100",
        1.0,
        |operations| picks(&sizes[0], operations),
        |operations| picks(&sizes[1], operations),
    );
    channel::measure(runtime, table);
}

fn picks(view: &ServiceView, operations: u64) {
    for _ in 0..operations {
        black_box(view.pick().map(|picked| picked.health));
    }
}

/// The given number of picks in all, by this many threads. Starting them is part
/// of neither side's time that matters: a round has millions of picks.
fn threads(count: u64, operations: u64, run: impl Fn(u64) + Sync) {
    let barrier = Barrier::new(count as usize);
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                barrier.wait();
                run(operations / count);
            });
        }
    });
}
