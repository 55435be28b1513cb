//! Others are in the way.

use std::time::Duration;

use conformance_tests::fixtures::{beat, instance, query, scope};
use futures_util::future::try_join_all;
use portolan::{BeatOutcome, Event, LeaseTerms, RegistryExt, WatchFrom, WatchItem, WatchStream};

use super::{Outcome, Place, check};
use crate::sql::Kind;

pub(super) fn lasting() -> LeaseTerms {
    LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200)).expect("ordered")
}

/// The next item that says something.
pub(super) async fn next(watch: &mut WatchStream) -> Result<WatchItem, Outcome> {
    let item = async {
        loop {
            match watch.next().await {
                Some(Ok(WatchItem::Progress(_))) => {}
                Some(Ok(item)) => return Ok(item),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Outcome::Broken("the watch ended".into())),
            }
        }
    };
    let late = |_| Outcome::Broken("the watch was silent where an item was due".into());
    tokio::time::timeout(Duration::from_secs(10), item).await.map_err(late)?
}

/// The ids of the instances an item brings.
pub(super) fn upserts(item: &WatchItem) -> Vec<String> {
    let WatchItem::Changes { events, .. } = item else {
        return Vec::new();
    };
    let upsert = |event: &Event| match event {
        Event::Upsert(instance) => Some(instance.id.to_string()),
        _ => None,
    };
    events.iter().filter_map(upsert).collect()
}

/// A foreign transaction takes number n + 1 and sleeps; ours wants to be n + 2. A
/// watcher that sees ours before the other would never see the other.
pub(super) async fn a_slow_transaction_with_a_lower_number_is_missed_by_nobody(
    place: &Place,
) -> Result<(), Outcome> {
    let database = place.database().await?;
    let (ours, reader) = (database.open().await?, database.open().await?);
    ours.connect_one(instance("i", "a", lasting())).await?;
    let mut watch = reader.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;

    let mut other = database.admin().await?;
    let begin = match database.kind {
        None => "BEGIN IMMEDIATE",
        Some(Kind::Postgres) => "BEGIN",
        Some(Kind::MySql) => "START TRANSACTION",
    };
    other.run(begin).await?;
    let record = other.text("SELECT record FROM portolan_instances WHERE id = 'i'").await?;
    let record = record.replace("\"id\":\"i\"", "\"id\":\"slow\"");
    let entry = format!("[{{\"instance\":{{\"after\":{record},\"cause\":\"superseded\"}}}}]");
    other
        .run(
            "UPDATE portolan_namespaces
             SET number = number + 1, position = position + 1, events = events + 1
             WHERE name = 'default'",
        )
        .await?;
    other
        .run(&format!(
            "INSERT INTO portolan_changes (ns, position, place, number, events, format, entries)
             SELECT id, position - 1, 0, number, events, 1, '{entry}'
             FROM portolan_namespaces WHERE name = 'default'"
        ))
        .await?;
    let write = tokio::spawn({
        let ours = ours.clone();
        async move { ours.connect_one(instance("fast", "a", lasting())).await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    check(!write.is_finished(), "a write overtook one with a lower number")?;
    other.run("COMMIT").await?;

    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(upserts(&next(&mut watch).await?));
    }
    check(seen == ["slow", "fast"], format_args!("the watcher saw {seen:?}"))?;
    write.await.map_err(|error| Outcome::Broken(error.to_string()))??;
    Ok(())
}

/// Deadlocks are the database's way to break ties; nobody here hears of them.
pub(super) async fn beats_in_every_order_do_not_fail(place: &Place) -> Result<(), Outcome> {
    let database = place.database().await?;
    let first = database.open().await?;
    let name = |n: usize| format!("i{n:03}");
    let specs: Vec<_> = (0..300).map(|n| instance(&name(n), "a", lasting())).collect();
    for lease in first.connect(&specs).await? {
        lease?;
    }
    let storm = (0..6).map(|process: usize| {
        let (database, name) = (&database, &name);
        async move {
            let handle = database.open().await?;
            for round in 0..20 {
                let mut beats: Vec<_> = (0..300).map(|n| beat(&name(n), 1)).collect();
                beats.rotate_left((process * 50 + round * 7) % 300);
                if process % 2 == 1 {
                    beats.reverse();
                }
                let outcomes = handle.heartbeat(&beats).await?;
                let renewed = outcomes.iter().all(|outcome| *outcome == BeatOutcome::Renewed);
                check(renewed, "a beat was not taken")?;
                // Rows are rewritten at the same time.
                let spec = instance(&name(process * 50), "a", lasting());
                handle.connect_one(spec).await?;
            }
            Ok::<_, Outcome>(())
        }
    });
    try_join_all(storm).await.map(drop)
}

/// Two writers that read the same epoch must not both become its successor.
pub(super) async fn racing_epochs_grow_and_the_last_one_lives(
    place: &Place,
) -> Result<(), Outcome> {
    let database = place.database().await?;
    let racers = (0..8).map(|_| async {
        let handle = database.open().await?;
        let mut epochs = Vec::new();
        for _ in 0..10 {
            let mut spec = instance("i", "a", lasting());
            spec.epoch = None;
            epochs.push(handle.connect_one(spec).await?.epoch);
        }
        Ok::<_, Outcome>(epochs)
    });
    let mut epochs: Vec<_> = try_join_all(racers).await?.into_iter().flatten().collect();
    let all = epochs.len();
    epochs.sort_unstable();
    epochs.dedup();
    check(epochs.len() == all, format_args!("{all} lives have {} epochs", epochs.len()))?;
    let view = database.open().await?.resolve(&query("a")).await?;
    check(
        view.instances.len() == 1 && Some(&view.instances[0].epoch) == epochs.last(),
        format_args!("{:?} lives, {:?} was last", view.instances, epochs.last()),
    )
}

/// A fail-over, an administrator, a firewall: every connection ends at once.
pub(super) async fn connections_that_are_ended_are_opened_again(
    place: &Place,
) -> Result<(), Outcome> {
    let database = place.database().await?;
    let kill = match database.kind {
        None => return Err(Outcome::NotClaimed),
        Some(Kind::Postgres) => {
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
        }
        Some(Kind::MySql) => {
            "SELECT GROUP_CONCAT(CONCAT('KILL ', id) SEPARATOR ';')
             FROM information_schema.processlist WHERE db = '{}'"
        }
    };
    let kill = kill.replace("{}", database.name());
    let handle = database.open().await?;
    let mut watch = handle.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    let mut owner = database.owner().await?;
    for round in 0..5 {
        match database.kind {
            Some(Kind::MySql) => {
                let kills = owner.text(&kill).await?;
                for kill in kills.split(';') {
                    let _ = owner.run(kill).await; // It may have gone by itself.
                }
            }
            _ => owner.run(&kill).await?,
        }
        // The next call of each kind works, and nobody has to be told.
        let name = format!("i{round}");
        handle.connect_one(instance(&name, "a", lasting())).await?;
        let outcome = handle.heartbeat_one(beat(&name, 1)).await?;
        check(outcome == BeatOutcome::Renewed, "a beat was not taken")?;
        let view = handle.resolve(&query("a")).await?;
        check(view.instances.len() == round + 1, "a read missed a write")?;
        let mut seen = Vec::new();
        while seen.is_empty() {
            let item = next(&mut watch).await?;
            check(!matches!(item, WatchItem::Reset(_)), "nothing was lost, and yet a reset")?;
            seen = upserts(&item);
        }
        check(seen == [name], format_args!("the watcher saw {seen:?}"))?;
    }
    Ok(())
}
