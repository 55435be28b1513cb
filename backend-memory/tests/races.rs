//! Real threads against the timer task: what was acknowledged holds.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::{MemoryOptions, MemoryStore};
use registry_api::kernel::Replica;
use registry_api::{
    Address, Beat, BeatOutcome, Clock, Epoch, Era, Instance, InstanceId, InstanceRef, InstanceSpec,
    LeaseTerms, Namespace, Offer, Query, Registry, RegistryExt, Scope, ServiceName, Timestamp,
    WatchFrom,
};
use tokio::time::Instant;

#[derive(Debug)]
struct RealClock(Instant);

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.0.elapsed()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let passed = Duration::from_nanos(deadline.as_nanos());
        tokio::time::sleep_until(self.0 + passed).await;
    }
}

const T: Duration = Duration::from_millis(20);

fn open() -> (Arc<RealClock>, Arc<dyn Registry>) {
    let clock = Arc::new(RealClock(Instant::now()));
    let store = MemoryStore::new(clock.clone(), MemoryOptions::new(Era(1)));
    (clock, store.handle(&Namespace::default()))
}

fn id(n: usize) -> InstanceId {
    InstanceId::parse(&format!("i{n}")).unwrap()
}

fn spec(n: usize, ttd: Duration) -> InstanceSpec {
    let offer = Offer::new(ServiceName::parse("s").unwrap(), Address::parse("tcp://h:1").unwrap());
    let terms = LeaseTerms::new(T, ttd).unwrap();
    InstanceSpec::new(id(n), [offer]).with_epoch(Epoch(1)).with_terms(terms)
}

fn beat(n: usize) -> Beat {
    Beat { id: id(n), epoch: Epoch(1), token: None }
}

/// H1 and H3 around the very moment a lease ends, with the sweeper at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_beat_counts_however_close_the_end_was() {
    let (clock, registry) = open();
    let holders = (0..8).map(|n| {
        let (clock, registry) = (clock.clone(), registry.clone());
        tokio::spawn(async move {
            let mut lost = 0;
            for round in 0..60_u64 {
                registry.connect_one(spec(n, T)).await.unwrap();
                // From well before the end to just behind it.
                let wait = Duration::from_micros(18_000 + (round * 97 + n as u64 * 331) % 3_000);
                tokio::time::sleep(wait).await;
                let sent = clock.now();
                let outcome = registry.heartbeat_one(beat(n)).await.unwrap();
                let seen = registry.resolve(&Query::instance(id(n))).await;
                let in_time = clock.now() < sent + T;
                match outcome {
                    BeatOutcome::Renewed => assert!(!in_time || seen.is_ok(), "renewed and gone"),
                    BeatOutcome::Unknown => {
                        assert!(seen.is_err(), "unknown and there");
                        lost += 1;
                    }
                    other => panic!("{other:?} where ttl and ttd are equal"),
                }
            }
            lost
        })
    });
    let lost: Vec<u32> = futures_util::future::try_join_all(holders).await.unwrap();
    assert!(lost.iter().sum::<u32>() > 0, "the race never came close");
}

/// R6 with beats in flight: a disconnect that was answered is final.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_disconnect_is_final_under_a_storm_of_beats() {
    let (_, registry) = open();
    let stop = Arc::new(AtomicBool::new(false));
    let storm = (0..2).map(|_| {
        let (registry, stop) = (registry.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                registry.heartbeat_one(beat(0)).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    let storm: Vec<_> = storm.collect();
    for _ in 0..2_000 {
        registry.connect_one(spec(0, Duration::from_secs(60))).await.unwrap();
        assert!(registry.resolve(&Query::instance(id(0))).await.is_ok());
        registry.disconnect(&[InstanceRef { id: id(0), epoch: Epoch(1) }]).await.unwrap();
        assert!(registry.resolve(&Query::instance(id(0))).await.is_err(), "it came back");
    }
    stop.store(true, Ordering::Relaxed);
    futures_util::future::try_join_all(storm).await.unwrap();
}

/// Watchers that started at any moment agree with a read once all is quiet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_agree_with_reads_after_churn() {
    let (_, registry) = open();
    let churn = (0..4).map(|writer| {
        let registry = registry.clone();
        tokio::spawn(async move {
            for round in 0..150 {
                let n = writer * 10 + round % 10;
                registry.connect_one(spec(n, 3 * T)).await.unwrap();
                if round % 3 == 0 {
                    let reference = InstanceRef { id: id(n), epoch: Epoch(1) };
                    registry.disconnect(&[reference]).await.unwrap();
                }
                tokio::time::sleep(Duration::from_micros(700)).await;
            }
        })
    });
    let churn: Vec<_> = churn.collect();
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push((registry.watch(&Scope::All, WatchFrom::Now).await.unwrap(), Replica::new()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    futures_util::future::try_join_all(churn).await.unwrap();
    // Long enough for everybody to expire; one stays.
    tokio::time::sleep(6 * T).await;
    registry.connect_one(spec(99, Duration::from_secs(60)).with_epoch(Epoch(2))).await.unwrap();
    let truth = registry.resolve(&Query::all()).await.unwrap();
    assert_eq!(truth.instances.len(), 1);
    for (watch, replica) in &mut watchers {
        while replica.revision() != Some(truth.revision) {
            let item = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
            assert!(replica.apply(item.unwrap().unwrap().unwrap()));
        }
        // Not its health: on a busy machine its short ttl passes meanwhile.
        let seen = replica.view().unwrap().instances;
        let presences =
            |all: &[Instance]| all.iter().map(|i| i.presence.clone()).collect::<Vec<_>>();
        assert_eq!(presences(&seen), presences(&truth.instances));
    }
}
