//! Heartbeats: what they keep, what silence costs, and when.

use std::time::Duration;

use registry_api::{
    BeatOutcome, Cause, Event, Health, LeaseTerms, Phase, RegistryExt, WatchStream,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{beat, events, granted, id, instance, life, scope};

cases! { "lease":
    "H1" acknowledged_beats_keep_an_instance_online
    "H2" silence_is_offline_at_ttl_and_not_before
    "H2" silence_is_delisted_at_ttd_and_not_before
    "H2" watchers_hear_of_silence_within_the_slack
    "H2" one_beat_revives_with_one_event
    "H2" equal_terms_delist_without_going_offline
    "H2" a_connect_renews_the_lease
    "H3" a_beat_for_an_unknown_id_fails_alone
    "H3" a_beat_for_a_delisted_id_answers_unknown
    "H4" a_beat_changes_nothing_but_the_lease
    "H4" a_beat_does_not_undo_draining
    "H5" a_batch_of_beats_is_one_round_trip
    "H6" wall_clocks_may_jump (alone)
}

/// Less than any granularity of terms: just before a deadline.
const JUST: Duration = Duration::from_millis(1);

/// What is seen of instance `i`: nothing, or its health.
async fn health(cx: &Ctx) -> Result<Option<Health>, Failure> {
    Ok(cx.all().await?.instance(&id("i")).map(|i| i.health))
}

/// Connects instance `i` of service `a` and returns the granted terms.
async fn join(cx: &Ctx) -> Result<LeaseTerms, Failure> {
    Ok(granted(cx.registry().connect(&[instance("i", "a", cx.terms())]).await)?.terms)
}

async fn watch(cx: &Ctx) -> Result<WatchStream, Failure> {
    let mut watch = cx.registry().watch(&scope("a"), Default::default()).await?;
    cx.next(&mut watch).await?;
    Ok(watch)
}

async fn acknowledged_beats_keep_an_instance_online(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    let rounds = (terms.ttd().as_millis() / terms.heartbeat_interval().as_millis()) + 2;
    for _ in 0..rounds {
        cx.advance(terms.heartbeat_interval()).await;
        let outcome = cx.registry().heartbeat_one(beat("i", 1)).await?;
        check_eq(&outcome, &BeatOutcome::Renewed, "a beat in time")?;
    }
    let acknowledged = cx.now();
    cx.advance(terms.ttl() / 2).await;
    let seen = health(cx).await?;
    let in_time = cx.now() < acknowledged + terms.ttl();
    check(!in_time || seen == Some(Health::Online), "an acknowledged beat did not count")
}

async fn silence_is_offline_at_ttl_and_not_before(cx: &Ctx) -> Result<(), Failure> {
    let sent = cx.now();
    let terms = join(cx).await?;
    cx.advance(terms.ttl() - JUST).await;
    let seen = health(cx).await?;
    let in_time = cx.now() < sent + terms.ttl();
    check(!in_time || seen == Some(Health::Online), "offline before its ttl")?;
    cx.advance(JUST + cx.slack()).await;
    check_eq(&health(cx).await?, &Some(Health::Offline), "after the ttl")
}

async fn silence_is_delisted_at_ttd_and_not_before(cx: &Ctx) -> Result<(), Failure> {
    let sent = cx.now();
    let terms = join(cx).await?;
    cx.advance(terms.ttd() - JUST).await;
    let seen = health(cx).await?;
    let in_time = cx.now() < sent + terms.ttd();
    check(!in_time || seen == Some(Health::Offline), "delisted before its ttd")?;
    cx.advance(JUST + cx.slack()).await;
    check_eq(&health(cx).await?, &None, "after the ttd")
}

async fn watchers_hear_of_silence_within_the_slack(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    let mut watch = watch(cx).await?;
    cx.advance(terms.ttl() + cx.slack()).await;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Health { health: Health::Offline, .. }] => {}
        other => return Err(Failure::new(format!("offline was due, saw {other:?}"))),
    }
    cx.advance(terms.ttd() - terms.ttl() + cx.slack()).await;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Remove { cause: Cause::Expired, .. }] => Ok(()),
        other => Err(Failure::new(format!("an expiry was due, saw {other:?}"))),
    }
}

async fn one_beat_revives_with_one_event(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    let mut watch = watch(cx).await?;
    cx.advance(terms.ttl() + cx.slack()).await;
    cx.next(&mut watch).await?;
    let outcome = cx.registry().heartbeat_one(beat("i", 1)).await?;
    check_eq(&outcome, &BeatOutcome::Revived, "the beat")?;
    check_eq(&health(cx).await?, &Some(Health::Online), "after the beat")?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Health { health: Health::Online, .. }] => {}
        other => return Err(Failure::new(format!("one revival was due, saw {other:?}"))),
    }
    cx.silent(&mut watch).await
}

async fn equal_terms_delist_without_going_offline(cx: &Ctx) -> Result<(), Failure> {
    let terms = LeaseTerms::new(cx.terms().ttl(), cx.terms().ttl())?;
    let lease = granted(cx.registry().connect(&[instance("i", "a", terms)]).await)?;
    let mut watch = watch(cx).await?;
    cx.advance(lease.terms.ttd() + cx.slack()).await;
    check_eq(&health(cx).await?, &None, "after the only timeout")?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Remove { cause: Cause::Expired, .. }] => Ok(()),
        other => Err(Failure::new(format!("an expiry was due, saw {other:?}"))),
    }
}

async fn a_connect_renews_the_lease(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    let mut watch = watch(cx).await?;
    cx.advance(terms.ttl() + cx.slack()).await;
    cx.next(&mut watch).await?;
    let sent = cx.now();
    join(cx).await?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Health { health: Health::Online, .. }] => {}
        other => return Err(Failure::new(format!("a revival was due, saw {other:?}"))),
    }
    cx.advance(terms.ttl() - JUST).await;
    let seen = health(cx).await?;
    let in_time = cx.now() < sent + terms.ttl();
    check(!in_time || seen == Some(Health::Online), "connecting did not renew the lease")
}

async fn a_beat_for_an_unknown_id_fails_alone(cx: &Ctx) -> Result<(), Failure> {
    join(cx).await?;
    let beats = [beat("never", 1), beat("i", 1), beat("i", 2)];
    let outcomes = cx.registry().heartbeat(&beats).await?;
    let expected = [BeatOutcome::Unknown, BeatOutcome::Renewed, BeatOutcome::Unknown];
    check_eq(&outcomes, &expected.to_vec(), "the outcomes, in order")
}

async fn a_beat_for_a_delisted_id_answers_unknown(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    cx.advance(terms.ttd() + cx.slack()).await;
    let outcome = cx.registry().heartbeat_one(beat("i", 1)).await?;
    check_eq(&outcome, &BeatOutcome::Unknown, "a beat after the ttd")?;
    check_eq(&health(cx).await?, &None, "after that beat")?;
    join(cx).await?;
    check_eq(&health(cx).await?, &Some(Health::Online), "after connecting again")
}

async fn a_beat_changes_nothing_but_the_lease(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    let mut watch = watch(cx).await?;
    let before = cx.all().await?;
    for _ in 0..3 {
        cx.advance(terms.heartbeat_interval()).await;
        cx.registry().heartbeat(&[beat("i", 1)]).await?;
    }
    check_eq(&cx.all().await?, &before, "what is seen, revision included")?;
    cx.silent(&mut watch).await
}

async fn a_beat_does_not_undo_draining(cx: &Ctx) -> Result<(), Failure> {
    let spec = instance("i", "a", cx.terms());
    granted(cx.registry().connect(std::slice::from_ref(&spec)).await)?;
    granted(cx.registry().connect(&[spec.with_phase(Phase::Draining)]).await)?;
    cx.registry().heartbeat(&[beat("i", 1)]).await?;
    let phase = cx.all().await?.instance(&id("i")).map(|i| i.phase);
    check_eq(&phase, &Some(Phase::Draining), "the phase after a beat")
}

async fn a_batch_of_beats_is_one_round_trip(cx: &Ctx) -> Result<(), Failure> {
    let name = |n: u32| format!("i{n}");
    let specs: Vec<_> = (0..200).map(|n| instance(&name(n), "a", cx.terms())).collect();
    cx.registry().connect(&specs).await?;
    let link = cx.link()?;
    let beats: Vec<_> = (0..200).map(|n| beat(&name(n), 1)).collect();
    // The first may have to open a connection, or to prepare its question.
    cx.registry().heartbeat(&beats).await?;
    let before = link.round_trips();
    let outcomes = cx.registry().heartbeat(&beats).await?;
    check(outcomes.iter().all(|o| *o == BeatOutcome::Renewed), "a beat was not taken")?;
    let trips = link.round_trips() - before;
    check(trips <= cx.world().beat_trips(), format_args!("200 beats cost {trips} round trips"))
}

async fn wall_clocks_may_jump(cx: &Ctx) -> Result<(), Failure> {
    let terms = join(cx).await?;
    for seconds in [3600, -7200, 3600] {
        let jumped = cx.world().jump_wall_clock(seconds);
        jumped.ok_or_else(|| Failure::absent("the target's wall clock cannot be moved"))?;
        check_eq(&health(cx).await?, &Some(Health::Online), "after a jump")?;
        cx.registry().heartbeat(&[beat("i", 1)]).await?;
    }
    cx.advance(terms.ttd() + cx.slack()).await;
    check_eq(&health(cx).await?, &None, "after the ttd")?;
    cx.registry().disconnect(&[life("i", 1)]).await?;
    Ok(())
}
