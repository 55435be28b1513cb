//! What a broker can do to those who use it.

use std::time::Duration;

use conformance_tests::fixtures::{beat, id, instance, query, registration, scope};
use conformance_tests::raw_amqp::{RawAmqp, nested_table, properties};
use conformance_tests::servers::Recipe;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use portolan::{
    BeatOutcome, Clock, ErrorKind, Query, RegistrationMode, RegistryExt, SystemClock, WatchFrom,
    WatchItem,
};

use super::{Outcome, Place, broken, check, lasting, next, open, pause, within};

pub(super) async fn a_broker_that_takes_nothing_says_so_and_goes_on_giving(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let registry = open(&world.url()).await?;
    registry.connect_one(instance("i", "a", lasting())).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    // More than any disk has: an alarm, and publishers are not read from any more.
    world.broker().control(&["set_disk_free_limit", "900000000000000"])?;
    // The beacon that is due finds out.
    pause(1500).await;
    let before = SystemClock.now();
    let error = registry.connect_one(instance("j", "a", lasting())).await.err();
    let error = error.ok_or_else(|| Outcome::Broken("a write into a full broker".into()))?;
    let took = SystemClock.now().since(before);
    check(error.kind() == ErrorKind::Unavailable, format_args!("{error:?}"))?;
    check(error.to_string().contains("takes no messages"), format_args!("{error}"))?;
    check(took < Duration::from_secs(1), format_args!("it took {took:?} to say so"))?;
    let beaten = registry.heartbeat_one(beat("i", 1)).await;
    check(beaten.is_err(), "a beat that nobody can hear was acknowledged")?;
    world.broker().control(&["set_disk_free_limit", "50000000"])?;
    within(Duration::from_secs(5), "it takes messages again", || async {
        Ok(registry.connect_one(instance("j", "a", lasting())).await.is_ok())
    })
    .await?;
    let outcome = registry.heartbeat_one(beat("i", 1)).await?;
    check(outcome == BeatOutcome::Renewed, format_args!("{outcome:?}"))?;
    match next(&mut watch).await? {
        WatchItem::Changes { .. } => Ok(()),
        other => Err(Outcome::Broken(format!("a change was due, saw {other:?}"))),
    }
}

pub(super) async fn queues_and_exchanges_deleted_behind_our_back_are_there_again(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let (registry, other) = (open(&world.url()).await?, open(&world.url()).await?);
    registry.connect_one(instance("i", "a", lasting())).await?;
    let (_connection, channel) = world.stranger().await;
    let fanout = world.named("beats");
    let plain = ExchangeDeleteOptions::default();
    channel.exchange_delete((&*fanout).into(), plain).await.map_err(broken)?;
    let beats = || async {
        let beaten = registry.heartbeat_one(beat("i", 1)).await;
        if let Err(error) = &beaten {
            let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout];
            check(kinds.contains(&error.kind()), format_args!("{error:?}"))?;
        }
        Ok(beaten.ok() == Some(BeatOutcome::Renewed))
    };
    within(Duration::from_secs(5), "beats are heard again", beats).await?;
    // The other one has lost its ear without being told, and finds out.
    let hears = || async { Ok(other.heartbeat_one(beat("i", 1)).await.is_ok()) };
    within(Duration::from_secs(8), "the other hears again", hears).await?;
    check(other.resolve(&query("a")).await?.instances.len() == 1, "it is not listed")?;
    Ok(())
}

pub(super) async fn a_log_that_is_deleted_goes_on_from_memory(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let (registry, other) = (open(&world.url()).await?, open(&world.url()).await?);
    registry.register(registration("o", RegistrationMode::Create, &["a"])).await?;
    let before = registry.connect_one(instance("i", "a", lasting())).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    for round in 0..2 {
        let (_connection, channel) = world.stranger().await;
        let log = world.named("log");
        let plain = QueueDeleteOptions::default();
        channel.queue_delete((&*log).into(), plain).await.map_err(broken)?;
        // A clear error within a second, or it works already.
        let joined = tokio::time::timeout(
            Duration::from_millis(1500),
            registry.connect_one(instance("j", "a", lasting())),
        );
        if let Ok(Err(error)) = joined.await {
            check(error.kind() == ErrorKind::Unavailable, format_args!("{error:?}"))?;
        }
        within(Duration::from_secs(5), "both work again and agree", || async {
            let (ours, theirs) =
                (registry.resolve(&Query::all()).await, other.resolve(&Query::all()).await);
            Ok(ours.is_ok() && ours.ok() == theirs.ok())
        })
        .await?;
        let view = other.resolve(&Query::all()).await?;
        check(view.instance(&id("i")).is_some(), format_args!("round {round}: it is gone"))?;
        check(view.services.len() == 1, "the declaration is gone")?;
        check(view.revision.era != before.revision.era, "the era is the same")?;
        check(view.revision.number >= before.revision.number, "numbers went back")?;
        match next(&mut watch).await? {
            WatchItem::Reset(view) => check(!view.instances.is_empty(), "an empty reset")?,
            WatchItem::Changes { .. } if round > 0 => {}
            other => return Err(Outcome::Broken(format!("a reset was due, saw {other:?}"))),
        }
        let outcome = registry.heartbeat_one(beat("i", 1)).await?;
        check(outcome == BeatOutcome::Renewed, format_args!("{outcome:?}"))?;
    }
    Ok(())
}

/// A client that reads headers by recursion dies of some.
pub(super) async fn headers_that_cannot_be_read_hurt_nobody(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = open(&world.url()).await?;
    registry.connect_one(instance("i", "a", lasting())).await?;
    let address = world.broker().address();
    let places = [(String::new(), world.named("log")), (world.named("beats"), String::new())];
    let published = tokio::task::spawn_blocking(move || {
        for (exchange, key) in places {
            for headers in [nested_table(100), nested_table(20_000)] {
                let deep = properties(&headers, "deep", "nobody");
                RawAmqp::connect(address)?.publish(&exchange, &key, &deep, b"{}")?;
            }
        }
        std::io::Result::Ok(())
    });
    let published = published.await.map_err(|error| Outcome::Broken(error.to_string()))?;
    published.map_err(|error| Outcome::Broken(error.to_string()))?;
    registry.connect_one(instance("j", "a", lasting())).await?;
    // Who starts now reads them again.
    let other = open(&world.url()).await?;
    for registry in [registry, other] {
        let there = registry.resolve(&query("a")).await?.instances.len();
        check(there == 2, format_args!("{there} of two are there"))?;
        let outcome = registry.heartbeat_one(beat("i", 1)).await?;
        check(outcome == BeatOutcome::Renewed, format_args!("{outcome:?}"))?;
    }
    Ok(())
}
