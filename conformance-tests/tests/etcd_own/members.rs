//! A cluster that loses its leader, or its majority.

use std::time::Duration;

use conformance_tests::fixtures::{beat, instance, query, scope};
use portolan::{BeatOutcome, ErrorKind, LeaseTerms, Registry, RegistryExt, WatchFrom};
use registry_api::kernel::Replica;

use super::{Outcome, Place, broken, check, handle, next, soon};
use crate::etcd::EtcdWorld;

fn lasting() -> Result<LeaseTerms, Outcome> {
    Ok(LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200))?)
}

/// Which member leads.
async fn leader(world: &EtcdWorld) -> Result<usize, Outcome> {
    let members = world.members();
    for (place, member) in members.iter().enumerate() {
        let mut client = etcd_client::Client::connect([member.address().to_string()], None)
            .await
            .map_err(broken)?;
        let status = client.status().await.map_err(broken)?;
        let own = status.header().map(|header| header.member_id());
        if own == Some(status.leader()) {
            return Ok(place);
        }
    }
    Err(Outcome::Broken("nobody leads".into()))
}

/// What holds of a registry whose cluster has a majority.
async fn serves(registry: &dyn Registry, name: &str) -> Result<(), Outcome> {
    soon("a write", || async {
        Ok(registry.connect_one(instance(name, "a", lasting()?)).await.is_ok())
    })
    .await?;
    soon("a beat", || async {
        let beaten = registry.heartbeat(&[beat("i", 1)]).await;
        Ok(beaten.is_ok_and(|outcomes| outcomes == [BeatOutcome::Renewed]))
    })
    .await?;
    soon("a read", || async { Ok(registry.resolve(&query("a")).await.is_ok()) }).await
}

pub(super) async fn a_leader_that_is_lost_is_followed_by_another(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.cluster().await?;
    let registry = handle(&world).await?;
    registry.connect_one(instance("i", "a", lasting()?)).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    let mut replica = Replica::new();
    replica.apply(next(&mut watch).await?);
    for (round, how) in ["frozen", "killed"].into_iter().enumerate() {
        let lead = leader(&world).await?;
        let member = &world.members()[lead];
        match how {
            "frozen" => member.freeze()?,
            _ => member.kill_and_restart()?,
        }
        serves(&*registry, &format!("j{round}")).await?;
        if how == "frozen" {
            member.thaw()?;
        }
        let truth = registry.resolve(&query("a")).await?.instances;
        check(truth.len() == round + 2, format_args!("{how}: {truth:?}"))?;
        while replica.view().is_none_or(|view| view.instances != truth) {
            replica.apply(next(&mut watch).await?);
        }
    }
    Ok(())
}

pub(super) async fn a_minority_says_nothing_rather_than_something_old(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.cluster().await?;
    let registry = handle(&world).await?;
    registry.connect_one(instance("i", "a", lasting()?)).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    let others = &world.members()[1..];
    others.iter().try_for_each(|member| member.freeze())?;
    let asked = tokio::time::timeout(Duration::from_secs(12), async {
        let read = registry.resolve(&query("a")).await.err();
        let wrote = registry.connect_one(instance("j", "a", lasting()?)).await.err();
        let beaten = registry.heartbeat(&[beat("i", 1)]).await.err();
        Ok::<_, Outcome>([read, wrote, beaten])
    });
    let errors = asked.await.map_err(|_| Outcome::Broken("a call hangs".into()))??;
    for (what, error) in ["a read", "a write", "a beat"].into_iter().zip(errors) {
        let kind = error.as_ref().map(|error| error.kind());
        let fits = [Some(ErrorKind::Unavailable), Some(ErrorKind::Timeout)];
        check(fits.contains(&kind), format_args!("{what} without a majority: {error:?}"))?;
    }
    others.iter().try_for_each(|member| member.thaw())?;
    serves(&*registry, "k").await?;
    let truth = registry.resolve(&query("a")).await?;
    check(truth.instances.len() >= 2, format_args!("{truth:?}"))
}
