//! What a caller knows before, and after, the registry can be asked.

use std::time::Duration;

use futures_util::future::join_all;
use registry_api::{ErrorKind, LeaseTerms, RegistryExt};

use super::handle::{Handle, picked};
use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::faults::Fault;
use crate::fixtures::{instance, life, offer, offering, service};

cases! { "cold":
    "V5" a_registry_that_is_away_takes_nothing_with_it
    "V5" a_registry_that_says_nothing_is_noticed_by_its_age
    "V5" a_flapping_registry_changes_nothing
    "V7" many_cold_callers_cause_one_fetch
    "V7" what_is_not_there_is_not_found_and_what_cannot_be_asked_is_unavailable
}

/// Terms nobody beats for within a case.
fn long_terms() -> Result<LeaseTerms, Failure> {
    let day = Duration::from_secs(24 * 3600);
    Ok(LeaseTerms::new(day, day)?)
}

/// How long an outage of a case is: ten minutes, where time costs nothing.
fn outage(cx: &Ctx) -> Duration {
    if cx.is_virtual() { Duration::from_secs(600) } else { cx.terms().ttl() * 2 }
}

async fn a_registry_that_is_away_takes_nothing_with_it(cx: &Ctx) -> Result<(), Failure> {
    let terms = long_terms()?;
    let specs = ["i", "j", "k"].map(|id| instance(id, "a", terms));
    for lease in cx.registry().connect(&specs).await? {
        lease?;
    }
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    handle.faults.set(Fault::Failing);
    let steps = 100;
    for step in 1..=steps {
        cx.advance(outage(cx) / steps).await;
        let resolved = handle.client.resolve(&service("a")).await?;
        check_eq(&resolved.followed.instances.len(), &3, "who is known")?;
        check(resolved.age >= outage(cx) / steps * (step - 1), "the age does not grow")?;
        check(view.pick().is_some(), "a pick failed")?;
    }
    handle.faults.set(Fault::None);
    cx.advance(Duration::from_secs(5)).await;
    let fresh = cx.registry().info().limits.progress_interval + cx.slack();
    check(view.age() <= fresh, format_args!("still {:?} old", view.age()))
}

async fn a_registry_that_says_nothing_is_noticed_by_its_age(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().connect_one(instance("i", "a", long_terms()?)).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    let usual = cx.registry().info().limits.progress_interval + cx.slack();
    cx.advance(usual).await;
    check(view.age() <= usual, "a registry that answers is called old")?;
    handle.faults.set(Fault::Stale);
    cx.registry().disconnect(&[life("i", 1)]).await?;
    cx.advance(usual * 3).await;
    check(view.age() >= usual * 2, "nobody can see that it says nothing")?;
    check(view.pick().is_some(), "what is not known was believed")?;
    handle.faults.set(Fault::None);
    cx.advance(Duration::from_secs(5)).await;
    check(view.pick().is_none(), "what was missed was not caught up")
}

async fn a_flapping_registry_changes_nothing(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().connect_one(instance("i", "a", long_terms()?)).await?;
    let handle = Handle::open(cx).await?;
    let view = handle.follow("a").await?;
    handle.faults.set(Fault::Flapping(Duration::from_millis(700)));
    for _ in 0..20 {
        cx.advance(Duration::from_millis(500)).await;
        check_eq(&picked(&view), &vec!["i".to_owned()], "who is picked")?;
    }
    Ok(())
}

async fn many_cold_callers_cause_one_fetch(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().connect_one(offering("i", [offer("a")], long_terms()?)).await?;
    let handle = Handle::open(cx).await?;
    handle.faults.set(Fault::Slow(Duration::from_millis(100)));
    let name = service("a");
    let callers = join_all((0..100).map(|_| handle.client.resolve(&name)));
    let (answers, ()) = tokio::join!(callers, cx.advance(Duration::from_secs(1)));
    for answer in answers {
        check_eq(&answer?.followed.instances.len(), &1, "who a cold caller sees")?;
    }
    check_eq(&(handle.faults.watches(), handle.faults.requests()), &(1, 1), "what was asked")
}

async fn what_is_not_there_is_not_found_and_what_cannot_be_asked_is_unavailable(
    cx: &Ctx,
) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let name = service("nobody");
    let kind = |answer: Result<_, registry_api::Error>| answer.err().map(|error| error.kind());
    let found = kind(handle.client.resolve(&name).await.map(drop));
    check_eq(&found, &Some(ErrorKind::NotFound), "a service that is not there")?;
    handle.faults.set(Fault::Failing);
    let (found, ()) =
        tokio::join!(handle.client.resolve(&name), cx.advance(Duration::from_secs(6)));
    check_eq(&kind(found.map(drop)), &Some(ErrorKind::Unavailable), "a registry that is away")
}
