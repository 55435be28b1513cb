//! What a holder can rely on: it is kept alive, told, and brought back.

use std::sync::Arc;
use std::time::Duration;

use portolan::{Client, MembershipState, Opener};
use registry_api::{Epoch, Health, LeaseTerms, RegistryExt};

use super::handle::{Handle, anew, options};
use super::probes::Silent;
use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::faults::{Fault, Faults};
use crate::fixtures::{id, life, offer, query};
use crate::target::Pace;

cases! { "holder":
    "H7" a_lost_lease_is_noticed_and_the_holder_is_back_with_current_data
    "H7" a_holder_survives_a_registry_that_flaps
    "H7" a_superseded_holder_stops_for_good
    "H8" everybody_is_back_after_a_long_outage_and_nobody_stampedes
    "H9" a_process_that_blocks_its_runtime_keeps_its_lease
}

async fn a_lost_lease_is_noticed_and_the_holder_is_back_with_current_data(
    cx: &Ctx,
) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let member = handle.join("i", "a", cx.terms()).await?;
    let Some(lease) = member.connected().await else { return Err(Failure::new("not connected")) };
    member.update(|spec| spec.offers = [offer("a").with_weight(77)].into());
    cx.settle().await;
    // Behind its back.
    cx.registry().disconnect(&[life("i", lease.epoch.0)]).await?;
    cx.advance(lease.terms.heartbeat_interval() + cx.slack()).await;
    cx.advance(Duration::from_millis(100)).await;
    let view = cx.registry().resolve(&query("a")).await?;
    let seen = view.instance(&id("i")).map(|i| (i.health, i.offers[0].weight.0));
    check_eq(&seen, &Some((Health::Online, 77)), "the instance")?;
    match member.state() {
        MembershipState::Connected(again) => {
            check(again.revision != lease.revision, "the holder was told nothing of it")
        }
        state => Err(Failure::new(format!("the holder believes {state:?}"))),
    }
}

async fn a_holder_survives_a_registry_that_flaps(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let member = handle.join("i", "a", cx.terms()).await?;
    let interval = cx.terms().heartbeat_interval();
    handle.faults.set(Fault::Flapping(interval / 2));
    for _ in 0..20 {
        cx.advance(interval / 2).await;
        check(cx.lists(&id("i")).await?, "it was delisted while the registry flapped")?;
    }
    handle.faults.set(Fault::None);
    cx.advance(interval + Duration::from_secs(5)).await;
    check(member.is_connected(), "it did not settle")
}

async fn a_superseded_holder_stops_for_good(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let member = handle.join("i", "a", cx.terms()).await?;
    let Some(lease) = member.connected().await else { return Err(Failure::new("not connected")) };
    let newer = anew("i", "a", cx.terms()).with_epoch(Epoch(lease.epoch.0 + 1));
    cx.registry().connect_one(newer).await?;
    cx.advance(lease.terms.heartbeat_interval() * 2).await;
    check_eq(&member.state(), &MembershipState::Superseded, "the older holder")?;
    cx.advance(lease.terms.ttd() + cx.slack()).await;
    check(!cx.lists(&id("i")).await?, "somebody beats for the newer one")
}

/// How many processes go through an outage, with how many members each.
struct Fleet {
    processes: usize,
    terms: LeaseTerms,
    /// Requests are counted over this: everybody at once would show.
    window: Duration,
}

const MEMBERS: usize = 3;

impl Fleet {
    /// Where time is real, few: they share this machine with the backend.
    fn of(cx: &Ctx) -> Result<Self, Failure> {
        let seconds = Duration::from_secs;
        Ok(match cx.is_virtual() {
            true => Self {
                processes: 120,
                terms: LeaseTerms::new(seconds(6), seconds(18))?,
                window: Duration::from_millis(500),
            },
            false => Self { processes: 12, terms: cx.terms(), window: seconds(2) },
        })
    }
}

async fn everybody_is_back_after_a_long_outage_and_nobody_stampedes(
    cx: &Ctx,
) -> Result<(), Failure> {
    let Fleet { processes, terms, window } = Fleet::of(cx)?;
    let faults = Faults::new(cx.clock());
    let mut handles = Vec::new();
    let mut members = Vec::new();
    for process in 0..processes {
        let handle = Handle::behind(cx, &faults).await?;
        for n in 0..MEMBERS {
            members.push(handle.join(&format!("i{process}-{n}"), "a", terms).await?);
        }
        handles.push(handle);
        // They did not all start in one moment.
        cx.advance(terms.heartbeat_interval() / processes as u32).await;
    }
    let windows = if cx.is_virtual() { 20 } else { 4 };
    let steady = requests_within(cx, &faults, window * windows).await / u64::from(windows);
    faults.set(Fault::Failing);
    cx.advance(terms.ttl() * 10).await;
    check(cx.all().await?.instances.is_empty(), "somebody outlived ten times the ttl")?;
    faults.set(Fault::None);
    let within = terms.heartbeat_interval() + Duration::from_secs(5);
    let mut left = within;
    while left > Duration::ZERO {
        let window = left.min(window);
        let asked = requests_within(cx, &faults, window).await;
        let most = 2 * steady;
        check(asked <= most, format_args!("{asked} requests in {window:?}, not {most}"))?;
        left -= window;
    }
    let view = cx.registry().resolve(&query("a")).await?;
    let online = view.instances.iter().filter(|i| i.health == Health::Online).count();
    check_eq(&online, &(processes * MEMBERS), "who is back in time")?;
    check_eq(&view.instances.len(), &online, "who is listed")?;
    check(members.iter().all(portolan::Membership::is_connected), "a holder was not told")
}

async fn requests_within(cx: &Ctx, faults: &Faults, time: Duration) -> u64 {
    let before = faults.requests();
    cx.advance(time).await;
    faults.requests() - before
}

async fn a_process_that_blocks_its_runtime_keeps_its_lease(cx: &Ctx) -> Result<(), Failure> {
    let Some(handles) = cx.world().handles() else { return Err(Failure::NotClaimed) };
    let opener = Opener::factory(move || {
        let handles = Arc::clone(&handles);
        async move { handles.open().await }
    });
    let client = Client::from_opener(opener, options(cx, &Silent::default())).await?;
    let member = client.join(anew("i", "a", cx.terms()));
    let Some(lease) = member.connected().await else { return Err(Failure::new("not connected")) };
    let mut told = member.watch();
    told.mark_unchanged();
    block_for(cx, lease.terms);
    check(!told.has_changed().unwrap_or(true), "the holder lost its lease meanwhile")?;
    let view = cx.registry().resolve(&query("a")).await?;
    let seen = view.instance(&id("i")).map(|i| i.health);
    check_eq(&seen, &Some(Health::Online), "the instance of a busy process")
}

/// Lets twice the ttl pass while nothing on this runtime can run. Where time is
/// virtual, other threads get a moment of real time at every step.
#[allow(clippy::disallowed_methods)] // Blocking the runtime is what this is about.
fn block_for(cx: &Ctx, terms: LeaseTerms) {
    let time = terms.ttl() * 2;
    match cx.world().pace() {
        Pace::Real(_) => std::thread::sleep(time),
        Pace::Manual(clock) => {
            let steps = 32;
            for _ in 0..steps {
                clock.leap(time / steps);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
