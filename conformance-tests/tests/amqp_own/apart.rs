//! Processes that know different things: cut off, just started, with other clocks.

use std::sync::Arc;
use std::time::Duration;

use backend_amqp::{AmqpOptions, AmqpRegistry};
use conformance_tests::fixtures::{beat, id, instance, scope};
use conformance_tests::proxy::{Mode, Proxy};
use conformance_tests::{Absent, Link};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use portolan::{
    Beat, BeatOutcome, Cause, Clock, Event, Health, LeaseTerms, Query, Registry, RegistryExt,
    SystemClock, Timestamp, View, WatchFrom, WatchItem, WatchStream,
};

use super::{Outcome, Place, broken, check, lasting, next, open, pause, within};
use crate::amqp::AmqpWorld;

fn terms(ttl_ms: u64, ttd_ms: u64) -> LeaseTerms {
    let ms = Duration::from_millis;
    LeaseTerms::new(ms(ttl_ms), ms(ttd_ms)).expect("ordered")
}

/// A process with a network of its own.
struct Process {
    proxy: Proxy,
    registry: Arc<dyn Registry>,
}

impl Process {
    async fn start(world: &AmqpWorld) -> Result<Self, Outcome> {
        let proxy = Proxy::start(world.broker().address(), Link::new()).await;
        let proxy = proxy.map_err(|error| Absent(format!("no proxy: {error}")))?;
        let behind = proxy.address().to_string();
        let url = world.direct().replace(&world.broker().address().to_string(), &behind);
        let registry = open(&url).await?;
        Ok(Self { proxy, registry })
    }
}

/// Beats for two instances until it is told to stop; whoever is gone was accused.
async fn beating(registry: Arc<dyn Registry>, names: &[&str], every: u64) -> Result<(), Outcome> {
    let beats: Vec<_> = names.iter().map(|name| beat(name, 1)).collect();
    loop {
        let outcomes = registry.heartbeat(&beats).await?;
        let well = outcomes.iter().all(|outcome| *outcome == BeatOutcome::Renewed);
        check(well, format_args!("a beat in time was answered {outcomes:?}"))?;
        pause(every).await;
    }
}

/// Everything a watcher is told of health and removals, until it is silent.
async fn accusations(watch: &mut WatchStream) -> Result<Vec<Event>, Outcome> {
    let mut told = Vec::new();
    while let Ok(Some(item)) = tokio::time::timeout(Duration::from_millis(300), watch.next()).await
    {
        if let WatchItem::Changes { events, .. } = item? {
            let accuses = |event: &Event| match event {
                Event::Remove { .. } => true,
                Event::Health { health, .. } => *health == Health::Offline,
                _ => false,
            };
            told.extend(events.into_iter().filter(accuses));
        }
    }
    Ok(told)
}

pub(super) async fn each_process_that_was_cut_off_accuses_nobody_and_is_right_again(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let (ttl, ttd) = (1500, 4000);
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(Process::start(&world).await?);
    }
    let elsewhere = open(&world.direct()).await?;
    let lives = ["stays", "stays-too"];
    for name in lives {
        elsewhere.connect_one(instance(name, "a", terms(ttl, ttd))).await?;
    }
    let work = async {
        for (number, mode) in [(0, None), (1, Some(Mode::HalfOpen)), (2, None)] {
            let process = &processes[number];
            let mut watch = process.registry.watch(&scope("a"), WatchFrom::Now).await?;
            next(&mut watch).await?;
            // One that dies meanwhile, and one that falls silent.
            let (dies, silent) = (format!("dies-{number}"), format!("silent-{number}"));
            elsewhere.connect_one(instance(&dies, "a", terms(ttl, ttd))).await?;
            elsewhere.connect_one(instance(&silent, "a", terms(ttl, 600_000))).await?;
            match mode {
                Some(mode) => process.proxy.set(mode),
                None => process.proxy.link().cut(),
            }
            // Cut off for longer than the ttd: whatever it believes is old.
            pause(ttd + ttl).await;
            let told = accusations(&mut watch).await?;
            check(told.is_empty(), format_args!("cut off, it told {told:?}"))?;
            match mode {
                Some(_) => process.proxy.set(Mode::Pass),
                None => process.proxy.link().heal(),
            }
            let truth = |registry: Arc<dyn Registry>| async move {
                Ok::<_, Outcome>(registry.resolve(&Query::all()).await.ok())
            };
            within(Duration::from_secs(5), "it is right again", || async {
                let (ours, theirs) =
                    (truth(process.registry.clone()).await?, truth(elsewhere.clone()).await?);
                Ok(ours.is_some() && ours == theirs)
            })
            .await?;
            let view = elsewhere.resolve(&Query::all()).await?;
            check(view.instance(&id(&dies)).is_none(), "the dead one is listed")?;
            let silent = view.instance(&id(&silent)).map(|i| i.health);
            check(silent == Some(Health::Offline), format_args!("the silent one is {silent:?}"))?;
            let told = accusations(&mut watch).await?;
            let wronged = |event: &Event| match event {
                Event::Remove { id, .. } | Event::Health { id, .. } => lives.contains(&id.as_str()),
                _ => false,
            };
            check(!told.iter().any(wronged), format_args!("healed, it told {told:?}"))?;
        }
        Ok(())
    };
    tokio::select! {
        done = work => done,
        accused = beating(elsewhere.clone(), &lives, ttl / 4) => accused,
    }
}

pub(super) async fn a_process_that_starts_knows_who_is_silent(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let first = open(&world.url()).await?;
    first.connect_one(instance("silent", "a", terms(1000, 600_000))).await?;
    first.connect_one(instance("dies", "a", terms(3000, 3000))).await?;
    pause(1500).await;
    let second = open(&world.url()).await?;
    let seen = second.resolve(&Query::all()).await?;
    check(seen == first.resolve(&Query::all()).await?, format_args!("{seen:?}"))?;
    let health = |view: &View, name: &str| view.instance(&id(name)).map(|i| i.health);
    check(health(&seen, "silent") == Some(Health::Offline), format_args!("{seen:?}"))?;
    check(health(&seen, "dies") == Some(Health::Online), format_args!("{seen:?}"))?;
    // It counts from the last beat, not from its own start.
    pause(2200).await;
    let seen = second.resolve(&Query::all()).await?;
    check(health(&seen, "dies").is_none(), format_args!("{seen:?}"))
}

/// A clock that is not that of this machine.
#[derive(Debug)]
struct Ahead(Duration);

#[async_trait::async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let left = deadline.since(self.now());
        tokio::time::sleep(left).await;
    }
}

pub(super) async fn clocks_an_hour_apart_agree(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let open = |ahead: u64| {
        let options = AmqpOptions::parse(&world.url());
        async move {
            let clock = Arc::new(Ahead(Duration::from_secs(ahead)));
            Ok::<_, Outcome>(AmqpRegistry::open(options?, clock).await?)
        }
    };
    let (now, later) = (open(0).await?, open(3600).await?);
    now.connect_one(instance("i", "a", terms(1000, 2500))).await?;
    let mut watch = later.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    for _ in 0..6 {
        pause(300).await;
        let outcome = now.heartbeat_one(beat("i", 1)).await?;
        check(outcome == BeatOutcome::Renewed, format_args!("{outcome:?}"))?;
    }
    check(later.resolve(&Query::all()).await? == now.resolve(&Query::all()).await?, "apart")?;
    let third = open(7200).await?;
    pause(1400).await;
    for registry in [&now, &later, &third] {
        let view = registry.resolve(&Query::all()).await?;
        let health = view.instance(&id("i")).map(|i| i.health);
        check(health == Some(Health::Offline), format_args!("{health:?}"))?;
    }
    next(&mut watch).await?;
    match next(&mut watch).await? {
        WatchItem::Changes { events, .. } => {
            let expired = matches!(events[..], [Event::Remove { cause: Cause::Expired, .. }]);
            check(expired, format_args!("{events:?}"))
        }
        other => Err(Outcome::Broken(format!("an expiry was due, saw {other:?}"))),
    }
}

/// Beats that come when a lease is just over race with those who say so: whatever
/// is answered is what everybody sees.
pub(super) async fn a_beat_at_the_last_moment_is_kept_or_refused_by_all(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let url = world.direct();
    let processes = try_join_all((0..3).map(|_| open(&url))).await?;
    let ttd = Duration::from_millis(900);
    for round in 0..25_u64 {
        let name = format!("i{round}");
        let ended = SystemClock.now() + ttd;
        processes[0].connect_one(instance(&name, "a", LeaseTerms::new(ttd, ttd)?)).await?;
        // From a little before to a little after.
        let moment = ended + Duration::from_millis(round / 2);
        SystemClock.sleep_until(Timestamp::from_nanos(moment.as_nanos() - 6_000_000)).await;
        let outcome = processes[1].heartbeat_one(beat(&name, 1)).await?;
        let kept = matches!(outcome, BeatOutcome::Renewed | BeatOutcome::Revived);
        for registry in &processes {
            let listed = || async {
                let view = registry.resolve(&Query::all()).await?;
                Ok::<_, Outcome>(view.instance(&id(&name)).is_some())
            };
            if kept {
                check(listed().await?, format_args!("round {round}: {outcome:?}, and gone"))?;
                continue;
            }
            let gone = || async { Ok(!listed().await?) };
            within(Duration::from_millis(800), "who is unknown is gone for all", gone).await?;
        }
    }
    Ok(())
}

pub(super) async fn ten_thousand_beats_are_one_message(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = open(&world.url()).await?;
    let name = |n: usize| format!("i{n}");
    let specs: Vec<_> = (0..10_000).map(|n| instance(&name(n), "a", lasting())).collect();
    for lease in registry.connect(&specs).await? {
        lease?;
    }
    let (_connection, channel) = world.stranger().await;
    let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let none = FieldTable::default;
    let queue = channel.queue_declare("".into(), own, none()).await.map_err(broken)?;
    let (fanout, bound) = (world.named("beats"), QueueBindOptions::default());
    let bind =
        channel.queue_bind(queue.name().clone(), (&*fanout).into(), "".into(), bound, none());
    bind.await.map_err(broken)?;
    let unasked = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let heard = channel.basic_consume(queue.name().clone(), "".into(), unasked, none()).await;
    let mut heard = heard.map_err(broken)?;
    let beats: Vec<Beat> = (0..10_000).map(|n| beat(&name(n), 1)).collect();
    let outcomes = registry.heartbeat(&beats).await?;
    check(outcomes.iter().all(|o| *o == BeatOutcome::Renewed), "a beat was not taken")?;
    // Many callers at once share a message too.
    let alone = beats.iter().take(500).map(|beat| registry.heartbeat_one(beat.clone()));
    try_join_all(alone).await?;
    let mut messages = 0;
    while let Ok(Some(delivery)) =
        tokio::time::timeout(Duration::from_millis(500), heard.next()).await
    {
        let delivery = delivery.map_err(broken)?;
        messages += usize::from(String::from_utf8_lossy(&delivery.data).contains(r#""beats":["#));
    }
    check((2..=8).contains(&messages), format_args!("10,500 beats were {messages} messages"))
}
