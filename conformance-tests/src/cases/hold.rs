//! Mass expiry, which is doubted, and everything else, which is not.

use std::time::Duration;

use registry_api::{Address, InstanceSpec, LeaseTerms, Offer, RegistryExt};

use super::handle::{Handle, held, picked};
use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::faults::Fault;
use crate::fixtures::{address, beat, instance, life, offering, service};

cases! { "hold":
    "V6" those_who_vanish_together_are_held_until_they_beat
    "V6" a_registry_that_is_deaf_to_beats_takes_nobody_away
    "V6" few_who_vanish_are_believed_to_be_gone
    "V6" leaving_is_believed_at_once
    "V6" a_probe_that_finds_nobody_ends_a_hold
    "V6" no_hold_outlasts_ten_minutes
    "V6" what_cannot_be_probed_is_held_for_its_ttd
    "V6" many_small_services_that_vanish_together_are_held
    "V6" a_registry_restored_empty_is_doubted
    "V6" a_backend_that_stands_still_takes_nobody_away (alone)
}

async fn connect(cx: &Ctx, ids: &[&str]) -> Result<LeaseTerms, Failure> {
    let specs: Vec<_> = ids.iter().map(|id| instance(id, "a", cx.terms())).collect();
    connect_all(cx, &specs).await
}

async fn connect_all(cx: &Ctx, specs: &[InstanceSpec]) -> Result<LeaseTerms, Failure> {
    let mut terms = cx.terms();
    for lease in cx.registry().connect(specs).await? {
        terms = lease?.terms;
    }
    Ok(terms)
}

fn all(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

const FOUR: [&str; 4] = ["i", "j", "k", "l"];

async fn those_who_vanish_together_are_held_until_they_beat(cx: &Ctx) -> Result<(), Failure> {
    let terms = connect(cx, &FOUR).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    cx.advance(terms.ttl() + cx.slack()).await;
    cx.advance(Duration::from_millis(100)).await;
    check_eq(&held(&view), &all(&FOUR), "who is held when offline")?;
    check_eq(&picked(&view), &all(&FOUR), "who is picked when offline")?;
    cx.registry().heartbeat(&[beat("i", 1)]).await?;
    cx.advance(cx.slack() + Duration::from_millis(100)).await;
    check_eq(&held(&view), &all(&["j", "k", "l"]), "who is held once one has beaten")?;
    cx.advance(terms.ttd() + cx.slack()).await;
    check_eq(&cx.all().await?.instances.len(), &0, "who is listed")?;
    check_eq(&picked(&view), &all(&FOUR), "who is picked when all are delisted again")
}

async fn a_registry_that_is_deaf_to_beats_takes_nobody_away(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let mut members = Vec::new();
    for id in FOUR {
        members.push(handle.join(id, "a", cx.terms()).await?);
    }
    let view = handle.follow("a").await?;
    handle.faults.set(Fault::Deaf);
    for _ in 0..10 {
        cx.advance(cx.terms().ttl() / 2).await;
        // They joined one after the other, so where time is real the first goes
        // offline before there are enough of them to doubt it.
        if !cx.is_virtual() && picked(&view) != all(&FOUR) {
            check(view.pick().is_some(), "everybody was taken away")?;
            cx.advance(cx.slack()).await;
        }
        check_eq(&picked(&view), &all(&FOUR), "who is picked")?;
    }
    handle.faults.set(Fault::None);
    cx.advance(cx.terms().heartbeat_interval() + Duration::from_secs(5)).await;
    check_eq(&held(&view), &all(&[]), "who is held when all is well again")?;
    check_eq(&picked(&view), &all(&FOUR), "who is picked when all is well again")
}

async fn few_who_vanish_are_believed_to_be_gone(cx: &Ctx) -> Result<(), Failure> {
    let terms = connect(cx, &FOUR).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    // Two of four are not more than half.
    for _ in 0..6 {
        cx.advance(terms.heartbeat_interval()).await;
        cx.registry().heartbeat(&[beat("i", 1), beat("j", 1)]).await?;
    }
    cx.advance(cx.slack()).await;
    check_eq(&picked(&view), &all(&["i", "j"]), "who is picked")?;
    check_eq(&held(&view), &all(&[]), "who is held")
}

async fn leaving_is_believed_at_once(cx: &Ctx) -> Result<(), Failure> {
    connect(cx, &FOUR).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    cx.registry().disconnect(&FOUR.map(|id| life(id, 1))).await?;
    cx.moment(|| view.pick().is_none()).await;
    check_eq(&picked(&view), &all(&[]), "who is picked")
}

async fn a_probe_that_finds_nobody_ends_a_hold(cx: &Ctx) -> Result<(), Failure> {
    let at = |id: &str| address(&format!("thrift://{id}:9000"));
    let specs = FOUR.map(|id| offering(id, [offer_at(at(id))], cx.terms()));
    let terms = connect_all(cx, &specs).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    handle.silent.add(at("j"));
    cx.advance(terms.ttl() + cx.slack()).await;
    cx.advance(Duration::from_millis(100)).await;
    check_eq(&picked(&view), &all(&["i", "k", "l"]), "who is picked")?;
    handle.silent.add(at("k"));
    cx.advance(Duration::from_secs(6)).await;
    check_eq(&picked(&view), &all(&["i", "l"]), "who is picked after the next probes")
}

async fn no_hold_outlasts_ten_minutes(cx: &Ctx) -> Result<(), Failure> {
    if !cx.is_virtual() {
        return Err(Failure::NotClaimed); // Ten minutes pass in virtual time only.
    }
    let terms = connect(cx, &FOUR).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    cx.advance(terms.ttl() + Duration::from_secs(599)).await;
    check_eq(&picked(&view), &all(&FOUR), "who is picked after less than ten minutes")?;
    cx.advance(Duration::from_secs(1) + cx.slack()).await;
    cx.advance(Duration::from_millis(100)).await;
    check_eq(&picked(&view), &all(&[]), "who is picked after ten minutes")
}

async fn what_cannot_be_probed_is_held_for_its_ttd(cx: &Ctx) -> Result<(), Failure> {
    let specs = FOUR
        .map(|id| offering(id, [offer_at(address(&format!("reverse:gateway/{id}")))], cx.terms()));
    let terms = connect_all(cx, &specs).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    cx.advance(terms.ttl() + cx.slack()).await;
    cx.advance(Duration::from_millis(100)).await;
    check_eq(&picked(&view), &all(&FOUR), "who is picked")?;
    cx.advance(terms.ttd() + cx.slack()).await;
    check_eq(&picked(&view), &all(&[]), "who is picked after the ttd")
}

async fn many_small_services_that_vanish_together_are_held(cx: &Ctx) -> Result<(), Failure> {
    let names: Vec<_> = (0..25).map(|n| format!("s{n}")).collect();
    let specs: Vec<_> = names.iter().map(|name| instance(name, name, cx.terms())).collect();
    let terms = connect_all(cx, &specs).await?;
    let handle = Handle::open(cx).await?;
    let mut views = Vec::new();
    for name in &names {
        views.push(handle.follow(name).await?);
    }
    cx.advance(terms.ttl() + cx.slack()).await;
    cx.advance(Duration::from_millis(200)).await;
    for view in &views {
        check_eq(&picked(view).len(), &1, "one of each service is picked")?;
    }
    Ok(())
}

async fn a_registry_restored_empty_is_doubted(cx: &Ctx) -> Result<(), Failure> {
    let day = Duration::from_secs(24 * 3600);
    cx.registry().connect_one(instance("i", "a", LeaseTerms::new(day, day)?)).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    handle.faults.set(Fault::Empty);
    cx.advance(Duration::from_secs(1)).await;
    check_eq(&picked(&view), &all(&["i"]), "who is picked from an empty registry")?;
    check_eq(&held(&view), &all(&["i"]), "who is held")?;
    let resolved = handle.client.resolve(&service("a")).await?;
    check(resolved.followed.is_held(&resolved.followed.instances[0].id), "it is not marked")?;
    handle.faults.set(Fault::None);
    cx.advance(Duration::from_secs(5)).await;
    check_eq(&(picked(&view), held(&view)), &(all(&["i"]), all(&[])), "when it is back")
}

fn offer_at(address: Address) -> Offer {
    Offer::new(service("a"), address)
}

async fn a_backend_that_stands_still_takes_nobody_away(cx: &Ctx) -> Result<(), Failure> {
    let machine = cx.world().machine().ok_or(Failure::NotClaimed)?;
    let freeze = |frozen| {
        machine.freeze(frozen).ok_or_else(|| Failure::absent("the backend's process is not ours"))
    };
    let handle = Handle::open(cx).await?;
    let mut members = Vec::new();
    for id in FOUR {
        members.push(handle.join(id, "a", cx.terms()).await?);
    }
    let view = handle.follow("a").await?;
    freeze(true)?;
    cx.advance(cx.terms().ttd() + cx.terms().ttl()).await;
    check_eq(&picked(&view), &all(&FOUR), "who is picked while nothing is heard")?;
    freeze(false)?;
    // All leases are over, and may be found to be so at once or one by one.
    for _ in 0..20 {
        cx.advance(Duration::from_millis(100)).await;
        check(view.pick().is_some(), "everybody was taken away")?;
    }
    cx.advance(cx.terms().heartbeat_interval() + Duration::from_secs(5)).await;
    check_eq(&picked(&view), &all(&FOUR), "who is picked when all is well again")?;
    check_eq(&held(&view), &all(&[]), "who is held then")?;
    check_eq(&cx.all().await?.instances.len(), &4, "who is listed then")
}
