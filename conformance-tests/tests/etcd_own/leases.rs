//! Leases: none is left, none is trusted, and few are renewed.

use conformance_tests::World;
use conformance_tests::fixtures::{beat, instance, life, offer, offering};
use conformance_tests::servers::Recipe;
use portolan::{BeatOutcome, Epoch, LeaseTerms, RegistryExt};

use super::{Outcome, Place, check, handle, soon};
use crate::etcd::EtcdWorld;

/// How many leases etcd has.
async fn leases(world: &EtcdWorld) -> Result<usize, Outcome> {
    let mut client = world.client().await;
    let leases = client.leases().await.map_err(|error| Outcome::Broken(error.to_string()))?;
    Ok(leases.leases().len())
}

pub(super) async fn no_lease_is_left_behind(place: &Place) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let terms = LeaseTerms::default();
    for epoch in [1, 3, 3] {
        registry.connect_one(instance("i", "a", terms).with_epoch(Epoch(epoch))).await?;
    }
    let refused = registry.connect_one(instance("i", "a", terms).with_epoch(Epoch(2))).await;
    check(refused.is_err(), "an older epoch was let in")?;
    // Other terms are other leases.
    let longer = LeaseTerms::new(terms.ttl() * 2, terms.ttd() * 2)?;
    registry.connect_one(instance("i", "a", longer).with_epoch(Epoch(3))).await?;
    soon("two leases for one instance", || async { Ok(leases(&world).await? == 2) }).await?;
    registry.disconnect(&[life("i", 3)]).await?;
    soon("no lease is left", || async { Ok(leases(&world).await? == 0) }).await
}

pub(super) async fn what_is_deleted_behind_the_holders_back_is_found_by_a_beat(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = handle(&world).await?;
    let mut client = world.client().await;
    let spec = || offering("i", [offer("a"), offer("b")], world.terms());
    for (key, outcome) in [
        ("ids/i", BeatOutcome::Unknown),
        ("instances/a/i", BeatOutcome::Unknown),
        ("instances/b/i", BeatOutcome::Unknown),
        // Its lease is there: it is offline, and one beat revives it.
        ("alive/i", BeatOutcome::Revived),
    ] {
        registry.connect_one(spec()).await?;
        check(registry.heartbeat_one(beat("i", 1)).await? == BeatOutcome::Renewed, key)?;
        let deleted = client.delete(format!("{}{key}", world.root()), None).await;
        deleted.map_err(|error| Outcome::Broken(error.to_string()))?;
        let told = registry.heartbeat_one(beat("i", 1)).await?;
        check(told == outcome, format_args!("without {key} a beat is {told:?}"))?;
        registry.connect_one(spec()).await?;
        let view = registry.resolve(&portolan::Query::all()).await?;
        let listed = view.instances.first().map(|instance| instance.offers.len());
        check(listed == Some(2), format_args!("after {key}: {view:?}"))?;
    }
    Ok(())
}

/// A counter of etcd's own, for one method.
fn counted(metrics: &str, counter: &str, method: &str) -> u64 {
    let lines = metrics.lines().filter(|line| {
        line.starts_with(counter) && line.contains(&format!("grpc_method=\"{method}\""))
    });
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

pub(super) async fn an_instance_with_32_offers_costs_two_renewals_a_beat(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let offers = (0..32).map(|n| offer(&format!("s{n}")));
    registry.connect_one(offering("i", offers, LeaseTerms::default())).await?;
    registry.heartbeat(&[beat("i", 1)]).await?;
    let before = world.metrics().await?;
    for _ in 0..10 {
        registry.heartbeat(&[beat("i", 1)]).await?;
    }
    let after = world.metrics().await?;
    let grew =
        |counter, method| counted(&after, counter, method) - counted(&before, counter, method);
    let renewals = grew("grpc_server_msg_received_total", "LeaseKeepAlive");
    let checks =
        grew("grpc_server_handled_total", "Txn") + grew("grpc_server_handled_total", "Range");
    let others = grew("grpc_server_handled_total", "LeaseTimeToLive");
    check(renewals == 20, format_args!("{renewals} renewals for ten beats"))?;
    check(checks == 10 && others == 0, format_args!("{checks} and {others} other requests"))
}

pub(super) async fn a_thousand_instances_use_one_stream(place: &Place) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let name = |n: u32| format!("i{n}");
    let specs: Vec<_> =
        (0..1_000).map(|n| instance(&name(n), "a", LeaseTerms::default())).collect();
    for lease in registry.connect(&specs).await? {
        lease?;
    }
    let beats: Vec<_> = (0..1_000).map(|n| beat(&name(n), 1)).collect();
    for _ in 0..3 {
        let outcomes = registry.heartbeat(&beats).await?;
        check(outcomes.iter().all(|o| *o == BeatOutcome::Renewed), "a beat was not taken")?;
    }
    let metrics = world.metrics().await?;
    let streams = counted(&metrics, "grpc_server_started_total", "LeaseKeepAlive");
    let renewals = counted(&metrics, "grpc_server_msg_received_total", "LeaseKeepAlive");
    check(streams == 1, format_args!("{streams} streams"))?;
    check(renewals == 6_000, format_args!("{renewals} renewals for 3,000 beats"))
}

pub(super) async fn ten_thousand_who_join_at_once_do_not_drown_etcd(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let specs: Vec<_> =
        (0..10_000).map(|n| instance(&format!("i{n}"), "a", LeaseTerms::default())).collect();
    for lease in registry.connect(&specs).await? {
        lease?;
    }
    let listed = registry.resolve(&portolan::Query::all()).await?.instances.len();
    check(listed == 10_000, format_args!("{listed} are listed"))?;
    let lives: Vec<_> = (0..10_000).map(|n| life(&format!("i{n}"), 1)).collect();
    registry.disconnect(&lives).await?;
    check(registry.resolve(&portolan::Query::all()).await?.instances.is_empty(), "they left")?;
    soon("no lease is left", || async { Ok(leases(&world).await? == 0) }).await
}
