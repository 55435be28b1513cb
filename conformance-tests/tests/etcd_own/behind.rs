//! What happens to etcd behind our back.

use std::time::Duration;

use conformance_tests::World;
use conformance_tests::fixtures::{id, instance, query, scope};
use conformance_tests::servers::{Recipe, etcd};
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions};
use portolan::{ErrorKind, LeaseTerms, RegistryExt, WatchFrom, WatchItem};
use registry_api::kernel::Replica;

use super::{Outcome, Place, broken, check, handle, next, soon};

pub(super) async fn a_compacted_watch_is_right_again(place: &Place) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let terms = LeaseTerms::default();
    registry.connect_one(instance("i", "a", terms)).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    let mut replica = Replica::new();
    replica.apply(next(&mut watch).await?);
    let link = world.link().ok_or_else(|| Outcome::Broken("no link".into()))?;
    link.cut();
    let elsewhere = crate::etcd::open(&world.direct(), &Default::default()).await?;
    for name in ["j", "k"] {
        elsewhere.connect_one(instance(name, "a", terms)).await?;
    }
    let mut client = world.client().await;
    let revision = client.get("x", None).await.map_err(broken)?;
    let revision = revision.header().map_or(0, |header| header.revision());
    let physical = Some(CompactionOptions::new().with_physical());
    client.compact(revision, physical).await.map_err(broken)?;
    link.heal();
    let item = next(&mut watch).await?;
    check(matches!(item, WatchItem::Reset(_)), format_args!("{item:?}"))?;
    replica.apply(item);
    let truth = elsewhere.resolve(&query("a")).await?.instances;
    check(replica.view().map(|view| view.instances) == Some(truth), "what it believes")
}

pub(super) async fn a_restored_snapshot_is_another_era(place: &Place) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let terms = LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200))?;
    registry.connect_one(instance("kept", "a", terms)).await?;
    let snapshot = world.snapshot().await?;
    for n in 0..5 {
        registry.connect_one(instance(&format!("lost{n}"), "a", terms)).await?;
    }
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    let first = next(&mut watch).await?;
    let restored = etcd(&Recipe { restored: Some(snapshot), ..Recipe::default() })?;
    world.redirect(restored.address());
    let item = next(&mut watch).await?;
    let WatchItem::Reset(view) = &item else {
        return Err(Outcome::Broken(format!("a reset was due, saw {item:?}")));
    };
    check(view.revision.era != first.revision().era, "the era is the same")?;
    check(view.instances.len() == 1, format_args!("{view:?}"))?;
    // Whoever comes now, comes into the new era.
    let read = registry.resolve(&query("a")).await?;
    check(read.revision.era == view.revision.era, "a read is of another era")?;
    registry.connect_one(instance("new", "a", terms)).await?;
    let WatchItem::Changes { revision, .. } = next(&mut watch).await? else {
        return Err(Outcome::Broken("a change was due".into()));
    };
    check(revision > view.revision, "revisions do not grow")
}

/// A restored etcd that was written to so much that its revisions are past ours.
pub(super) async fn a_restored_snapshot_that_has_grown_is_another_era(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = handle(&world).await?;
    let terms = LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200))?;
    registry.connect_one(instance("kept", "a", terms)).await?;
    let snapshot = world.snapshot().await?;
    registry.connect_one(instance("lost", "a", terms)).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    let first = next(&mut watch).await?;
    let restored = etcd(&Recipe { restored: Some(snapshot), ..Recipe::default() })?;
    let mut client = etcd_client::Client::connect([restored.address().to_string()], None)
        .await
        .map_err(broken)?;
    for n in 0..50 {
        client.put("elsewhere", n.to_string(), None).await.map_err(broken)?;
    }
    world.redirect(restored.address());
    let item = next(&mut watch).await?;
    let WatchItem::Reset(view) = &item else {
        return Err(Outcome::Broken(format!("a reset was due, saw {item:?}")));
    };
    check(view.revision.era != first.revision().era, "the era is the same")?;
    check(view.instance(&id("lost")).is_none(), "what was lost is there")
}

pub(super) async fn a_full_etcd_takes_no_writes_and_goes_on_reading(
    place: &Place,
) -> Result<(), Outcome> {
    let small = vec!["--quota-backend-bytes=4194304".to_owned()];
    let world = place.alone(&Recipe { arguments: small, ..Recipe::default() }).await?;
    let registry = handle(&world).await?;
    let terms = LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200))?;
    registry.connect_one(instance("i", "a", terms)).await?;
    let mut client = world.client().await;
    let mut fits = true;
    for n in 0..64 {
        fits = client.put(format!("fill/{n}"), vec![0; 256 * 1024], None).await.is_ok();
        if !fits {
            break;
        }
    }
    check(!fits, "etcd did not get full")?;
    let refused = registry.connect_one(instance("j", "a", terms)).await;
    let error = refused.err().ok_or_else(|| Outcome::Broken("a full etcd took a write".into()))?;
    check(error.kind() == ErrorKind::Unavailable, format_args!("{error}"))?;
    check(error.to_string().contains("no room"), format_args!("{error}"))?;
    let view = registry.resolve(&query("a")).await?;
    check(view.instance(&id("i")).is_some(), "it does not read any more")?;
    let outcomes = registry.heartbeat(&[conformance_tests::fixtures::beat("i", 1)]).await?;
    check(outcomes == [portolan::BeatOutcome::Renewed], format_args!("{outcomes:?}"))?;
    // The operator makes room.
    client.delete("fill/", Some(etcd_client::DeleteOptions::new().with_prefix())).await.ok();
    let revision = client.get("x", None).await.map_err(broken)?;
    let revision = revision.header().map_or(0, |header| header.revision());
    client
        .compact(revision, Some(CompactionOptions::new().with_physical()))
        .await
        .map_err(broken)?;
    client.defragment().await.map_err(broken)?;
    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await.map_err(broken)?;
    for alarm in alarms.alarms() {
        let mut at = AlarmOptions::new();
        at.with_member(alarm.member_id());
        client
            .alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(at))
            .await
            .map_err(broken)?;
    }
    soon("it takes writes again", || async {
        Ok(registry.connect_one(instance("j", "a", terms)).await.is_ok())
    })
    .await
}
