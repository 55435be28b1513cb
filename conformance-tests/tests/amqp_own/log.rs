//! The log: founded, replayed from a snapshot, given up at its old end.

use std::sync::Arc;
use std::time::Duration;

use conformance_tests::fixtures::{instance, life, query, registration};
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use portolan::{ErrorKind, Query, RegistrationMode, Registry, RegistryExt, WatchFrom, WatchItem};

use super::{Outcome, Place, broken, check, lasting, next, open, within};
use crate::amqp::AmqpWorld;

/// Joins with so many instances, and leaves again with all but `stay`.
async fn churn(
    registry: &Arc<dyn Registry>,
    from: usize,
    to: usize,
    stay: usize,
) -> Result<(), Outcome> {
    let name = |n: usize| format!("churn-{n}");
    for n in from..to {
        registry.connect_one(instance(&name(n), "a", lasting())).await?;
        if n >= stay {
            registry.disconnect(&[life(&name(n), 1)]).await?;
        }
    }
    Ok(())
}

/// The offsets and types of what is in the log, as somebody else reads it.
async fn messages(world: &AmqpWorld, from: &str) -> Result<Vec<(i64, String)>, Outcome> {
    let (_connection, channel) = world.stranger().await;
    channel.basic_qos(1000, BasicQosOptions::default()).await.map_err(broken)?;
    let mut offset = FieldTable::default();
    offset.insert("x-stream-offset".into(), AMQPValue::LongString(from.into()));
    let plain = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume((&*world.named("log")).into(), "".into(), plain, offset).await;
    let mut consumer = consumer.map_err(broken)?;
    let mut found = Vec::new();
    while let Ok(Some(delivery)) =
        tokio::time::timeout(Duration::from_millis(500), consumer.next()).await
    {
        let delivery = delivery.map_err(broken)?;
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let Some(AMQPValue::LongLongInt(offset)) = headers.inner().get("x-stream-offset") else {
            return Err(Outcome::Broken("a message without an offset".into()));
        };
        let text = String::from_utf8_lossy(&delivery.data);
        let kind = if text.contains(r#""snapshot":{"#) { "snapshot" } else { "entry" };
        found.push((*offset, kind.to_owned()));
        delivery.ack(BasicAckOptions::default()).await.map_err(broken)?;
    }
    Ok(found)
}

fn snapshots(messages: &[(i64, String)]) -> usize {
    messages.iter().filter(|(_, kind)| kind == "snapshot").count()
}

pub(super) async fn a_cold_process_begins_at_a_snapshot(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let url = format!("{}&snapshot=20000", world.url());
    let registry = open(&url).await?;
    registry.register(registration("o", RegistrationMode::Create, &["a", "b"])).await?;
    // One founds the log; of the others, a cold process begins at the one before the
    // latest.
    for round in 0..3 {
        churn(&registry, 100 * round, 100 * (round + 1), 20).await?;
        within(Duration::from_secs(10), "there is another snapshot", || async {
            Ok(snapshots(&messages(&world, "first").await?) >= round + 2)
        })
        .await?;
    }
    let late = registry.connect_one(instance("late", "a", lasting())).await?;
    let truth = registry.resolve(&Query::all()).await?;
    check(truth.instances.len() == 21, format_args!("{} are there", truth.instances.len()))?;
    let cold = open(&url).await?;
    check(cold.resolve(&Query::all()).await? == truth, "a cold process sees another registry")?;
    // What is decided by how often somebody had connected is decided alike.
    cold.connect_one(instance("late", "a", lasting())).await?;
    drop(registry);
    let colder = open(&url).await?;
    check(colder.resolve(&Query::all()).await? == truth, "the second one sees another")?;
    // The history reaches back at least to the snapshot before.
    let mut watch = colder
        .watch(&conformance_tests::fixtures::scope("a"), WatchFrom::Revision(truth.revision))
        .await?;
    let joined = colder.connect_one(instance("more", "a", lasting())).await?;
    match next(&mut watch).await? {
        WatchItem::Changes { revision, .. } => {
            check(revision == joined.revision && revision > late.revision, "another change")
        }
        other => Err(Outcome::Broken(format!("one change was due, saw {other:?}"))),
    }
}

pub(super) async fn ten_thousand_instances_are_read_in_a_couple_of_seconds(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = open(&world.url()).await?;
    let specs: Vec<_> =
        (0..10_000).map(|n| instance(&format!("many-{n}"), "a", lasting())).collect();
    for lease in registry.connect(&specs).await? {
        lease?;
    }
    // Enough to be worth a snapshot: everybody says the same again.
    for _ in 0..4 {
        for lease in registry.connect(&specs).await? {
            lease?;
        }
    }
    // Where other brokers start beside it, that may be four times as long.
    let within = std::time::Duration::from_secs(12);
    let cold = tokio::time::timeout(within, open(&world.url())).await;
    let cold = cold.map_err(|_| Outcome::Broken(format!("it took longer than {within:?}")))??;
    let seen = cold.resolve(&query("a")).await?.instances.len();
    check(seen == 10_000, format_args!("a cold process sees {seen}"))
}

pub(super) async fn several_may_write_snapshots_and_the_oldest_log_is_given_up(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let url = format!("{}&snapshot=100000&retention=4194304", world.url());
    let processes = try_join_all((0..3).map(|_| open(&url))).await?;
    let name = |n: usize| format!("{n}-{}", "x".repeat(180));
    let mut round = 0;
    // Until the broker has given up where the log began.
    while messages(&world, "first").await?.first().is_some_and(|(offset, _)| *offset == 0) {
        round += 1;
        check(round < 60, "the log is never given up")?;
        let writing = processes.iter().enumerate().map(|(place, registry)| async move {
            for n in 0..40 {
                let spec = instance(&name(n * 3 + place), "a", lasting());
                registry.connect_one(spec.with_phase(portolan::Phase::Starting)).await?;
                registry.connect_one(instance(&name(n * 3 + place), "a", lasting())).await?;
            }
            Ok::<_, Outcome>(())
        });
        try_join_all(writing).await?;
    }
    let truth = processes[0].resolve(&Query::all()).await?;
    check(truth.instances.len() == 120, format_args!("{} are there", truth.instances.len()))?;
    let cold = open(&url).await?;
    check(cold.resolve(&Query::all()).await? == truth, "a cold process sees another registry")?;
    for registry in &processes {
        check(registry.resolve(&Query::all()).await? == truth, "they do not agree")?;
    }
    Ok(())
}

pub(super) async fn processes_that_found_a_log_at_the_same_time_agree(
    place: &Place,
) -> Result<(), Outcome> {
    for _ in 0..5 {
        let world = place.world().await?;
        let url = world.url();
        let processes = try_join_all((0..4).map(|_| open(&url))).await?;
        let name = |n: usize| format!("i{n}");
        let joining = processes.iter().enumerate().map(|(n, registry)| async move {
            registry.connect_one(instance(&name(n), "a", lasting())).await
        });
        try_join_all(joining).await?;
        let views = join_all(
            processes.iter().map(|registry| async { registry.resolve(&Query::all()).await }),
        )
        .await;
        let views = views.into_iter().collect::<Result<Vec<_>, _>>()?;
        check(views[0].instances.len() == 4, format_args!("{:?}", views[0]))?;
        check(views.windows(2).all(|two| two[0] == two[1]), format_args!("{views:?}"))?;
    }
    Ok(())
}

/// Writes a message into the log as somebody else's program.
async fn plant(channel: &Channel, log: &str, kind: &str, body: &[u8]) -> Result<(), Outcome> {
    let properties = BasicProperties::default().with_type(kind.into());
    let plain = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), log.into(), plain, body, properties).await;
    sent.map_err(broken)?.await.map_err(broken)?;
    Ok(())
}

pub(super) async fn an_entry_of_the_future_is_a_clear_error(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = open(&world.url()).await?;
    registry.connect_one(instance("i", "a", lasting())).await?;
    let mut watch =
        registry.watch(&conformance_tests::fixtures::scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    let (_connection, channel) = world.stranger().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(broken)?;
    plant(&channel, &world.named("log"), "portolan/7", b"\x01\x02").await?;
    let refusal = |error: portolan::Error| {
        let told = error.to_string();
        let clear = told.contains("newer version") && told.contains("portolan/7");
        check(error.kind() == ErrorKind::Unsupported && clear, told)
    };
    match tokio::time::timeout(Duration::from_secs(2), watch.next()).await {
        Ok(Some(Err(error))) => refusal(error)?,
        other => return Err(Outcome::Broken(format!("an end was due, saw {other:?}"))),
    }
    check(watch.next().await.is_none(), "the watch goes on after its end")?;
    let asked = registry.resolve(&query("a")).await;
    refusal(asked.err().ok_or_else(|| Outcome::Broken("a read of what is not known".into()))?)?;
    match open(&world.url()).await {
        Err(Outcome::Broken(told)) => check(told.contains("portolan/7"), told),
        other => Err(Outcome::Broken(format!("a refusal was due, saw {:?}", other.map(drop)))),
    }
}

pub(super) async fn a_queue_that_is_no_log_is_refused(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let (_connection, channel) = world.stranger().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let log = world.named("log");
    let classic = channel.queue_declare((&*log).into(), durable, FieldTable::default()).await;
    classic.map_err(broken)?;
    match open(&world.url()).await {
        Err(Outcome::Broken(told)) => check(told.contains("of another kind is in the way"), told),
        other => Err(Outcome::Broken(format!("a refusal was due, saw {:?}", other.map(drop)))),
    }
}
