//! The facade's handle in virtual time, behind a link that can be cut.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::fixtures::{id, life, offer, owner, query, registration, service};
use conformance_tests::mutants::{Defect, Flawed};
use conformance_tests::{Fault, Faults, Faulty, Link, Linked, ManualClock};
use portolan::call::{Call, CallErrorKind};
use portolan::{
    ChannelOptions, Client, ClientOptions, Clock, DeclarationState, Epoch, Era, ErrorKind, Health,
    InProcess, InstanceSpec, Lease, LeaseTerms, MembershipState, Namespace, Opener, Phase,
    RegistrationMode, Registry, RegistryExt, Result, ServiceSpec,
};

struct World {
    clock: ManualClock,
    link: Link,
    /// Behind the link.
    client: Client,
    /// Before it: the truth.
    registry: Arc<dyn Registry>,
}

fn world() -> World {
    let (clock, link) = (ManualClock::new(), Link::new());
    let store = MemoryStore::new(Arc::new(clock.clone()), MemoryOptions::new(Era(1)));
    let registry = store.handle(&Namespace::default());
    let linked = Linked::new(registry.clone(), link.clone(), Arc::new(clock.clone()));
    let client = Client::new(Arc::new(linked), options(&clock));
    World { clock, link, client, registry }
}

fn options(clock: &ManualClock) -> ClientOptions {
    ClientOptions::default().with_clock(Arc::new(clock.clone()))
}

fn spec(name: &str) -> InstanceSpec {
    let terms = LeaseTerms::new(Duration::from_secs(3), Duration::from_secs(9)).unwrap();
    InstanceSpec::new(id(name), [offer("a")]).with_terms(terms)
}

impl World {
    async fn seen(&self, name: &str) -> Option<(Health, Phase, u32)> {
        let view = self.registry.resolve(&query("a")).await.ok()?;
        view.instance(&id(name)).map(|i| (i.health, i.phase, i.offers[0].weight.0))
    }

    async fn seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test]
async fn a_member_stays_online_until_it_leaves() {
    let world = world();
    let membership = world.client.join(spec("i"));
    assert!(membership.connected().await.is_some());
    for _ in 0..20 {
        world.seconds(1).await;
        assert_eq!(world.seen("i").await, Some((Health::Online, Phase::Ready, 10)));
    }
    membership.leave().await.unwrap();
    assert_eq!(world.seen("i").await, None);
}

#[tokio::test]
async fn updates_and_draining_change_the_record_in_place() {
    let world = world();
    let membership = world.client.join(spec("i"));
    let epoch = membership.connected().await.unwrap().epoch;
    membership.update(|spec| spec.offers = [offer("a").with_weight(77)].into());
    world.seconds(1).await;
    assert_eq!(world.seen("i").await, Some((Health::Online, Phase::Ready, 77)));
    membership.drain();
    world.seconds(1).await;
    assert_eq!(world.seen("i").await, Some((Health::Online, Phase::Draining, 77)));
    let view = world.registry.resolve(&query("a")).await.unwrap();
    assert_eq!(view.instances[0].epoch, epoch);
}

#[tokio::test]
async fn a_member_comes_back_with_current_data_after_any_time() {
    let world = world();
    let mut membership = world.client.join(spec("i"));
    membership.connected().await.unwrap();
    membership.changed().await;
    world.link.cut();
    world.seconds(4).await;
    assert!(matches!(membership.changed().await, MembershipState::Connecting { .. }));
    membership.update(|spec| spec.offers = [offer("a").with_weight(5)].into());
    world.seconds(3600).await;
    assert_eq!(world.seen("i").await, None, "delisted meanwhile");
    world.link.heal();
    world.seconds(6).await; // The cap of the backoff is five seconds.
    assert_eq!(world.seen("i").await, Some((Health::Online, Phase::Ready, 5)));
}

#[tokio::test]
async fn a_replaced_member_stops_for_good() {
    let world = world();
    let membership = world.client.join(spec("i"));
    let epoch = membership.connected().await.unwrap().epoch;
    let successor = spec("i").with_epoch(Epoch(epoch.0 + 5));
    world.registry.connect_one(successor).await.unwrap();
    world.seconds(2).await;
    assert_eq!(membership.state(), MembershipState::Superseded);
    world.seconds(20).await;
    assert_eq!(world.seen("i").await, None, "nobody beats for the successor");
}

#[tokio::test]
async fn dropping_a_member_leaves() {
    let world = world();
    let membership = world.client.join(spec("i"));
    membership.connected().await.unwrap();
    drop(membership);
    world.seconds(0).await;
    assert_eq!(world.seen("i").await, None);
}

#[tokio::test]
async fn leaving_while_the_connect_is_under_way_leaves_nothing() {
    let world = world();
    let slow = Arc::new(Slow(world.clock.clone()));
    let slow = Arc::new(Flawed::new(world.registry.clone(), slow));
    let client = Client::new(slow, options(&world.clock));
    let membership = client.join(spec("i"));
    world.clock.advance(Duration::from_millis(50)).await;
    let (left, ()) = tokio::join!(membership.leave(), world.seconds(1));
    left.unwrap();
    assert_eq!(world.seen("i").await, None, "the answer came after the leaving");
}

/// A registry whose answers to a connect take their time.
#[derive(Debug)]
struct Slow(ManualClock);

#[async_trait]
impl Defect for Slow {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        let answer = inner.connect(instances).await;
        self.0.sleep_until(self.0.now() + Duration::from_millis(500)).await;
        answer
    }
}

#[tokio::test]
async fn many_members_beat_in_batches() {
    let world = world();
    let members: Vec<_> = (0..200).map(|n| world.client.join(spec(&format!("i{n}")))).collect();
    for member in &members {
        member.connected().await.unwrap();
    }
    let before = world.link.round_trips();
    world.seconds(30).await;
    let beats = world.link.round_trips() - before;
    assert!(beats <= 31, "{beats} round trips for 30 beats of everybody");
    assert_eq!(world.registry.resolve(&query("a")).await.unwrap().instances.len(), 200);
}

#[tokio::test]
async fn a_dead_registry_does_not_block_leaving() {
    let world = world();
    let membership = world.client.join(spec("i"));
    membership.connected().await.unwrap();
    world.link.cut();
    assert!(membership.leave().await.is_err());
    world.link.heal();
    world.registry.disconnect(&[life("i", 1)]).await.unwrap();
}

#[tokio::test]
async fn a_followed_service_shows_the_last_that_was_known() {
    let world = world();
    let membership = world.client.join(spec("i"));
    membership.connected().await.unwrap();
    let view = world.client.follow(&service("a"));
    view.ready().await.unwrap();
    assert_eq!(view.pick().map(|picked| picked.id.clone()), Some(id("i")));
    world.link.cut();
    world.seconds(600).await;
    assert_eq!(view.pick().map(|picked| picked.id.clone()), Some(id("i")), "static stability");
    world.link.heal();
    world.seconds(10).await;
    assert!(view.pick().is_some(), "the member came back");
    membership.drain();
    world.seconds(1).await;
    assert_eq!(view.pick().map(|p| p.phase), Some(Phase::Draining), "nothing else is left");
    membership.leave().await.unwrap();
    world.seconds(1).await;
    assert!(view.pick().is_none());
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // The runtime is to be stuck.
async fn a_process_that_is_stuck_for_good_is_not_kept_alive() {
    let clock = ManualClock::new();
    let store = MemoryStore::new(Arc::new(clock.clone()), MemoryOptions::new(Era(1)));
    let registry = store.handle(&Namespace::default());
    let shared = Arc::clone(&registry);
    let opener = Opener::factory(move || std::future::ready(Ok(Arc::clone(&shared))));
    let options = options(&clock).with_stall_limit(Duration::from_secs(15));
    let client = Client::from_opener(opener, options).await.unwrap();
    let membership = client.join(spec("i"));
    membership.connected().await.unwrap();
    for _ in 0..80 {
        clock.leap(Duration::from_millis(500));
        std::thread::sleep(Duration::from_millis(5));
    }
    let listed = async || registry.resolve(&query("a")).await.map_or(0, |v| v.instances.len());
    assert_eq!(listed().await, 0, "after 40 s of nothing it is gone");
    let back = async {
        while listed().await == 0 {
            clock.advance(Duration::from_millis(500)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it runs again, and is back");
}

#[tokio::test]
async fn a_cold_call_does_not_wait_beyond_its_deadline() {
    let world = world();
    let faults = Faults::new(Arc::new(world.clock.clone()));
    faults.set(Fault::Slow(Duration::from_secs(3600)));
    let silent = Faulty::new(Arc::clone(&world.registry), faults);
    let client = Client::new(Arc::new(silent), options(&world.clock));
    let caller = Arc::new(InProcess::new());
    let channel = client.channel(&service("a"), caller, ChannelOptions::default());
    let call = Call::new(service("a"), "m", Vec::new().into());
    let call = channel.call(call.with_timeout(Duration::from_millis(300)));
    let ended = async { (call.await, world.clock.now()) };
    let begun = world.clock.now();
    let ((answer, now), ()) = tokio::join!(ended, world.seconds(2));
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), CallErrorKind::Registry(ErrorKind::Timeout));
    assert_eq!((error.may_have_run(), now.since(begun).as_millis()), (false, 300));
}

#[tokio::test]
async fn what_was_declared_comes_back_with_its_holder() {
    let world = world();
    let declaration = world.client.declare(owner("o"), vec![ServiceSpec::new(service("a"))]);
    assert_eq!(declaration.declared().await.len(), 1);
    let membership = world.client.join(spec("i"));
    let lease = membership.connected().await.unwrap();
    // Behind its back, as if the registry had been restored from nothing.
    world.registry.deregister(&owner("o"), &[service("a")]).await.unwrap();
    world.registry.disconnect(&[life("i", lease.epoch.0)]).await.unwrap();
    world.seconds(2).await;
    let view = world.registry.resolve(&query("a")).await.unwrap();
    assert_eq!((view.services.len(), view.instances.len()), (1, 1));
    // And after an outage that nobody was lost in.
    world.link.cut();
    world.seconds(2).await;
    world.registry.deregister(&owner("o"), &[service("a")]).await.unwrap();
    world.link.heal();
    world.seconds(6).await;
    assert_eq!(world.registry.resolve(&query("a")).await.unwrap().services.len(), 1);
    // Nothing is said again while all is well.
    let before = world.link.round_trips();
    world.seconds(30).await;
    let trips = world.link.round_trips() - before;
    assert!(trips <= 45, "{trips} round trips for 30 beats, a quarter early at most");
}

#[tokio::test]
async fn a_refused_declaration_says_why_and_is_tried_again() {
    let world = world();
    let taken = registration("other", RegistrationMode::Create, &["a"]);
    world.registry.register(taken).await.unwrap();
    let declaration = world.client.declare(owner("o"), vec![ServiceSpec::new(service("a"))]);
    world.seconds(1).await;
    match declaration.state() {
        DeclarationState::Declaring { refusal: Some(refusal) } => {
            assert!(refusal.contains("already exists"), "{refusal}");
        }
        state => panic!("{state:?}"),
    }
    world.registry.deregister(&owner("other"), &[service("a")]).await.unwrap();
    world.seconds(61).await;
    assert_eq!(declaration.declared().await[0].owner, owner("o"));
}
