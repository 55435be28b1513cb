//! When the machine under the backend fails: it is killed, it stands still, the
//! network swallows what it is given.

use std::time::Duration;

use registry_api::kernel::Replica;
use registry_api::{BeatOutcome, ErrorKind, InstanceSpec, Query, RegistryExt, WatchFrom};
use tokio::sync::oneshot;

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{beat, granted, id, instance, query, scope};
use crate::target::Machine;

cases! { "machine":
    "R8" what_was_acknowledged_survives_a_kill_in_the_middle_of_writing [Durable] (alone)
    "H1" a_backend_that_stands_still_and_goes_on_loses_nobody_who_beats_again (alone)
    "V2" a_backend_that_stands_still_is_an_error_in_time_and_not_empty (alone)
    "W4" a_watch_over_a_network_that_swallows_everything_is_right_again
    "V2" a_network_that_swallows_everything_is_an_error_in_time_and_not_empty
    "H1" connections_that_the_network_forgot_are_replaced
}

/// The longest a call may take to say that nothing can be said.
const PATIENCE: Duration = Duration::from_secs(12);
/// How soon a watch is right again.
const AGAIN: Duration = Duration::from_secs(5);

fn machine(cx: &Ctx) -> Result<&dyn Machine, Failure> {
    cx.world().machine().ok_or(Failure::NotClaimed)
}

fn frozen(machine: &dyn Machine, frozen: bool) -> Result<(), Failure> {
    machine.freeze(frozen).ok_or_else(|| Failure::absent("the backend's process is not ours"))
}

async fn what_was_acknowledged_survives_a_kill_in_the_middle_of_writing(
    cx: &Ctx,
) -> Result<(), Failure> {
    let terms = cx.lasting();
    let name = |n: usize| format!("i{n}");
    let (well_begun, begun) = oneshot::channel();
    let written = async move {
        let (mut acknowledged, mut well_begun) = (Vec::new(), Some(well_begun));
        for n in 0..2_000 {
            // A write that fails has lost its backend.
            match cx.registry().connect_one(instance(&name(n), "a", terms)).await {
                Ok(lease) => acknowledged.push(lease.id),
                Err(_) => break,
            }
            if acknowledged.len() == 10 {
                let _ = well_begun.take().map(|tell| tell.send(())); // Somebody waits for it.
            }
        }
        acknowledged
    };
    let kill = async {
        let _ = begun.await; // Where nothing can be written, that is seen below.
        cx.advance(Duration::from_millis(100)).await;
        cx.world().kill_and_restart().await
    };
    let (acknowledged, killed) = tokio::join!(written, kill);
    killed.ok_or_else(|| Failure::absent("the target cannot be killed"))?;
    check(acknowledged.len() >= 10, "nothing was written before the kill")?;
    let view = cx.another().await?.resolve(&query("a")).await?;
    let lost = acknowledged.iter().find(|id| view.instance(id).is_none());
    check(lost.is_none(), format_args!("{lost:?} was acknowledged and is gone"))
}

async fn a_backend_that_stands_still_and_goes_on_loses_nobody_who_beats_again(
    cx: &Ctx,
) -> Result<(), Failure> {
    let machine = machine(cx)?;
    let terms = cx.terms();
    let specs: Vec<InstanceSpec> =
        (0..20).map(|n| instance(&format!("i{n}"), "a", terms)).collect();
    for lease in cx.registry().connect(&specs).await? {
        lease?;
    }
    frozen(machine, true)?;
    cx.advance(terms.ttd() + terms.ttl()).await;
    frozen(machine, false)?;
    // Every holder is told what it must do, and is back when it has done so.
    for spec in specs {
        let answer = patient(cx, |cx| {
            let id = spec.id.as_str().to_owned();
            async move { cx.registry().heartbeat_one(beat(&id, 1)).await }
        });
        if answer.await? == BeatOutcome::Unknown {
            granted(cx.registry().connect(&[spec]).await)?;
        }
    }
    let view = cx.registry().resolve(&query("a")).await?;
    check_eq(&view.instances.len(), &20, "who is there again")
}

/// Tries until the backend answers, or it should have.
async fn patient<'a, T, F>(cx: &'a Ctx, ask: impl Fn(&'a Ctx) -> F) -> Result<T, Failure>
where
    F: Future<Output = registry_api::Result<T>>,
{
    let until = cx.now() + PATIENCE;
    loop {
        match ask(cx).await {
            Ok(answer) => return Ok(answer),
            Err(error) if cx.now() >= until || !error.is_retryable() => return Err(error.into()),
            Err(_) => cx.advance(Duration::from_millis(50)).await,
        }
    }
}

async fn a_backend_that_stands_still_is_an_error_in_time_and_not_empty(
    cx: &Ctx,
) -> Result<(), Failure> {
    let machine = machine(cx)?;
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    frozen(machine, true)?;
    let ended = every_call_ends(cx).await;
    frozen(machine, false)?;
    ended?;
    let view = patient(cx, |cx| async { cx.registry().resolve(&query("a")).await }).await?;
    check(view.instance(&id("i")).is_some(), "the instance is gone")
}

async fn a_network_that_swallows_everything_is_an_error_in_time_and_not_empty(
    cx: &Ctx,
) -> Result<(), Failure> {
    let machine = machine(cx)?;
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    machine.swallow(true);
    let ended = every_call_ends(cx).await;
    machine.swallow(false);
    ended?;
    let view = patient(cx, |cx| async { cx.registry().resolve(&query("a")).await }).await?;
    check(view.instance(&id("i")).is_some(), "the instance is gone")
}

async fn connections_that_the_network_forgot_are_replaced(cx: &Ctx) -> Result<(), Failure> {
    let machine = machine(cx)?;
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    cx.registry().heartbeat(&[beat("i", 1)]).await?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    machine.forget();
    let beaten = patient(cx, |cx| async { cx.registry().heartbeat_one(beat("i", 1)).await });
    check_eq(&beaten.await?, &BeatOutcome::Renewed, "a beat")?;
    let spec = [instance("j", "a", cx.lasting())];
    for answer in patient(cx, |cx| cx.registry().connect(&spec)).await? {
        answer?;
    }
    let view = patient(cx, |cx| async { cx.registry().resolve(&query("a")).await }).await?;
    check_eq(&view.instances.len(), &2, "who is there")?;
    let seen = cx.next(&mut watch).await?;
    check(seen.revision() >= view.revision, format_args!("the watcher saw {seen:?}"))
}

/// Nobody hangs on a backend that says nothing, and nobody is told a lie.
async fn every_call_ends(cx: &Ctx) -> Result<(), Failure> {
    let asked = cx.now();
    let everything = Query::all();
    let spec = [instance("j", "a", cx.lasting())];
    let beats = [beat("i", 1)];
    let registry = cx.registry();
    let (read, joined, beaten) = tokio::join!(
        registry.resolve(&everything),
        registry.connect(&spec),
        registry.heartbeat(&beats),
    );
    let errors = [read.err(), joined.err(), beaten.err()];
    for (error, what) in errors.into_iter().zip(["a read", "a connect", "a beat"]) {
        let kind = error.map(|error| error.kind());
        let fits = [ErrorKind::Timeout, ErrorKind::Unavailable, ErrorKind::Overloaded];
        check(kind.is_some_and(|kind| fits.contains(&kind)), format_args!("{what}: {kind:?}"))?;
    }
    let took = cx.now().since(asked);
    check(took <= PATIENCE, format_args!("it took {took:?} to say that nobody is there"))
}

async fn a_watch_over_a_network_that_swallows_everything_is_right_again(
    cx: &Ctx,
) -> Result<(), Failure> {
    let machine = machine(cx)?;
    let terms = cx.lasting();
    granted(cx.registry().connect(&[instance("i", "a", terms)]).await)?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    let mut replica = Replica::new();
    replica.apply(cx.next(&mut watch).await?);
    let elsewhere = match cx.world().handles() {
        Some(handles) => handles.open().await?,
        None => return Err(Failure::absent("there is no way around the network")),
    };
    machine.swallow(true);
    granted(elsewhere.connect(&[instance("j", "a", terms)]).await)?;
    // Long enough for every connection to be given up at least once.
    cx.advance(Duration::from_secs(8)).await;
    granted(elsewhere.connect(&[instance("k", "a", terms)]).await)?;
    machine.swallow(false);
    cx.advance(AGAIN).await;
    while let Some(item) = cx.ready(&mut watch).await? {
        replica.apply(item);
    }
    let truth = elsewhere.resolve(&query("a")).await?.instances;
    check_eq(&replica.view().map(|view| view.instances), &Some(truth), "what the watcher believes")
}
