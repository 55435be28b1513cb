//! Watches when something breaks: resumption, cuts, slow readers, junk.

use std::time::Duration;

use registry_api::kernel::Replica;
use registry_api::{
    Era, ErrorKind, Event, Health, RegistryExt, Revision, Scope, View, WatchFrom, WatchItem,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{beat, events, granted, id, instance, life, query, scope};

cases! { "watch_faults":
    "W3" resumes_after_the_revision_without_repeating_it [Resume]
    "W3" a_resumed_watch_begins_with_who_is_not_online [Resume]
    "W3" a_revision_of_another_era_yields_a_reset [Resume]
    "W3" a_compacted_revision_yields_a_reset [Resume]
    "W4" a_cut_watch_is_right_again_within_five_seconds
    "W4" a_watch_never_goes_silent
    "W5" a_reader_that_never_reads_costs_a_bounded_backlog
    "W6" dropping_the_stream_releases_it
    "W8" junk_is_skipped_and_others_are_served [Foreign]
}

async fn resumes_after_the_revision_without_repeating_it(cx: &Ctx) -> Result<(), Failure> {
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let seen = granted(cx.registry().connect(&[instance("j", "a", cx.lasting())]).await)?;
    granted(cx.registry().connect(&[instance("k", "a", cx.lasting())]).await)?;
    let from = WatchFrom::Revision(seen.revision);
    let mut watch = cx.another().await?.watch(&scope("a"), from).await?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Upsert(i)] => check_eq(&i.id, &id("k"), "the first change after it")?,
        other => return Err(Failure::new(format!("one upsert was due, saw {other:?}"))),
    }
    cx.silent(&mut watch).await
}

async fn a_resumed_watch_begins_with_who_is_not_online(cx: &Ctx) -> Result<(), Failure> {
    let lease = granted(cx.registry().connect(&[instance("i", "a", cx.terms())]).await)?;
    let fresh = granted(cx.registry().connect(&[instance("j", "a", cx.terms())]).await)?;
    cx.advance(lease.terms.ttl() + cx.slack()).await;
    cx.registry().heartbeat(&[beat("j", 1)]).await?;
    // The revival of j is told before the watch begins.
    cx.advance(cx.slack()).await;
    let from = WatchFrom::Revision(fresh.revision);
    let mut watch = cx.registry().watch(&scope("a"), from).await?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Health { id: who, health: Health::Offline, .. }] => {
            check_eq(who, &id("i"), "who is not online")?;
        }
        other => {
            return Err(Failure::new(format!("one judgement was due, saw {other:?}")));
        }
    }
    cx.silent(&mut watch).await
}

async fn a_revision_of_another_era_yields_a_reset(cx: &Ctx) -> Result<(), Failure> {
    let lease = granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let Revision { era, number } = lease.revision;
    let foreign = Era(era.0 ^ 1);
    for revision in [Revision { era: foreign, number }, Revision { era, number: number + 100 }] {
        let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Revision(revision)).await?;
        let item = cx.next(&mut watch).await?;
        let WatchItem::Reset(view) = item else {
            return Err(Failure::new(format!("a reset was due, saw {item:?}")));
        };
        check(view.instance(&id("i")).is_some(), "the reset misses an instance")?;
    }
    Ok(())
}

async fn a_compacted_revision_yields_a_reset(cx: &Ctx) -> Result<(), Failure> {
    let first = granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    flood(cx, cx.registry().info().limits.watch_backlog + 1).await?;
    let from = WatchFrom::Revision(first.revision);
    let mut watch = cx.registry().watch(&scope("flood"), from).await?;
    match cx.next(&mut watch).await? {
        WatchItem::Reset(_) => Ok(()),
        other => Err(Failure::new(format!("a reset was due, saw {other:?}"))),
    }
}

async fn a_cut_watch_is_right_again_within_five_seconds(cx: &Ctx) -> Result<(), Failure> {
    let spec = |name| instance(name, "a", cx.terms());
    let link = cx.link()?.clone();
    let terms = granted(cx.registry().connect(&[spec("stays")]).await)?.terms;
    granted(cx.registry().connect(&[spec("leaves")]).await)?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    let mut replica = Replica::new();
    replica.apply(cx.next(&mut watch).await?);

    // While it is cut: one leaves, one goes offline and comes back, one joins.
    link.cut();
    cx.advance(terms.ttl() / 3).await;
    check(cx.ready(&mut watch).await?.is_none(), "a cut watch said something")?;
    link.heal();
    let other = cx.another().await?;
    other.disconnect(&[life("leaves", 1)]).await?;
    granted(other.connect(&[spec("joins")]).await)?;
    other.heartbeat(&[beat("stays", 1), beat("joins", 1)]).await?;
    link.cut();
    link.heal();

    // Meanwhile they are silent for their ttl, again and again.
    let mut left = Duration::from_secs(5);
    while left > Duration::ZERO {
        let silence = left.min(terms.ttl() + cx.slack());
        cx.advance(silence).await;
        cx.registry().heartbeat(&[beat("stays", 1), beat("joins", 1)]).await?;
        left -= silence;
    }
    cx.advance(cx.slack()).await;
    let mut last = replica.revision();
    while let Some(item) = cx.ready(&mut watch).await? {
        let revision = item.revision();
        check(last <= Some(revision), "a revision went backwards")?;
        last = Some(revision);
        replica.apply(item);
    }
    let truth: View = cx.registry().resolve(&query("a")).await?;
    let seen = replica.view().map(|view| view.instances);
    check_eq(&seen, &Some(truth.instances), "what the watcher believes")
}

async fn a_watch_never_goes_silent(cx: &Ctx) -> Result<(), Failure> {
    let lease = granted(cx.registry().connect(&[instance("i", "a", cx.terms())]).await)?;
    let mut watch = cx.registry().watch(&scope("b"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let interval = cx.registry().info().limits.progress_interval;
    let (begun, mut told) = (cx.now(), 0);
    check(cx.ready(&mut watch).await?.is_none(), "something was told at once")?;
    for _ in 0..3 {
        cx.advance(interval + cx.slack()).await;
        let mut item = cx.item(&mut watch).await?;
        check(item.is_some(), "progress was due")?;
        while let Some(progress) = item {
            let WatchItem::Progress(revision) = progress else {
                return Err(Failure::new(format!("progress was due, saw {progress:?}")));
            };
            check(revision >= lease.revision, "progress is behind the writes")?;
            told += 1;
            // Another one, where the slack is longer than the interval.
            item = cx.ready(&mut watch).await?;
        }
        check(begun + interval * told <= cx.now(), "something was told too early")?;
    }
    Ok(())
}

async fn a_reader_that_never_reads_costs_a_bounded_backlog(cx: &Ctx) -> Result<(), Failure> {
    let mut slow = cx.registry().watch(&scope("flood"), WatchFrom::Now).await?;
    let mut fast = cx.registry().watch(&scope("flood"), WatchFrom::Now).await?;
    let backlog = cx.registry().info().limits.watch_backlog;
    let written = flood(cx, 3 * backlog).await?;
    let (mut told, mut replica) = (0, Replica::new());
    while let Some(item) = cx.ready(&mut slow).await? {
        told += match &item {
            WatchItem::Reset(view) => view.instances.len(),
            WatchItem::Changes { events, .. } => events.len(),
            WatchItem::Progress(_) => 0,
        };
        replica.apply(item);
    }
    let truth = cx.registry().resolve(&query("flood")).await?.instances;
    check_eq(&replica.view().map(|view| view.instances), &Some(truth), "what it believes")?;
    let bound = backlog + FLOOD;
    check(told <= bound, format_args!("{told} of {written} events were kept, not {bound}"))?;
    check(cx.item(&mut fast).await?.is_some(), "another reader was told nothing")
}

async fn dropping_the_stream_releases_it(cx: &Ctx) -> Result<(), Failure> {
    let link = cx.link()?;
    let before = link.open_watches();
    for _ in 0..20 {
        let mut watch = cx.registry().watch(&Scope::All, WatchFrom::Now).await?;
        cx.next(&mut watch).await?;
    }
    // The word has to get there.
    for _ in 0..300 {
        cx.advance(Duration::from_millis(10)).await;
        if link.open_watches() == before {
            return Ok(());
        }
    }
    check_eq(&link.open_watches(), &before, "open watches at the backend")
}

async fn junk_is_skipped_and_others_are_served(cx: &Ctx) -> Result<(), Failure> {
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let planted = cx.world().plant_junk().await;
    planted.ok_or_else(|| Failure::absent("nothing can be planted in this target"))?;
    granted(cx.registry().connect(&[instance("j", "a", cx.lasting())]).await)?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Upsert(i)] => check_eq(&i.id, &id("j"), "the change after the junk")?,
        other => return Err(Failure::new(format!("one upsert was due, saw {other:?}"))),
    }
    check_eq(&cx.all().await?.instances.len(), &2, "instances next to the junk")
}

/// How many instances [`flood`] updates over and over.
const FLOOD: usize = 100;

/// Writes at least `events` changes to the service `flood`.
async fn flood(cx: &Ctx, events: usize) -> Result<usize, Failure> {
    let rounds = events.div_ceil(FLOOD);
    for round in 0..rounds {
        let spec = |n| {
            let offer = crate::fixtures::offer("flood").with_weight(round as u32 + 1);
            crate::fixtures::offering(&format!("f{n}"), [offer], cx.lasting())
        };
        let specs: Vec<_> = (0..FLOOD).map(spec).collect();
        for answer in cx.registry().connect(&specs).await? {
            answer?;
        }
        // Whoever reads ahead has the time to do so.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    Ok(rounds * FLOOD)
}

/// A resumed watch is refused, and nothing else happens, where it is not claimed.
pub(crate) async fn resume_is_refused(cx: &Ctx) -> Result<(), Failure> {
    let lease = cx.registry().connect_one(instance("i", "a", cx.lasting())).await?;
    match cx.registry().watch(&scope("a"), WatchFrom::Revision(lease.revision)).await {
        Err(error) => check_eq(&error.kind(), &ErrorKind::Unsupported, "the refusal"),
        Ok(_) => Err(Failure::new("what is not claimed was not refused")),
    }
}
