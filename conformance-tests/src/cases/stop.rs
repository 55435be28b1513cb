//! Stopping: in an order that loses no call, and never for ever.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use portolan::{Channel, ChannelOptions, Membership, StopOptions};
use registry_api::call::{Call, CallError, Caller, Host, Peer, Reply};
use registry_api::{Address, Clock, ErrorKind, Health, InstanceId, Offer, Phase, RegistryExt};

use super::handle::{Handle, anew, picked};
use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::faults::Fault;
use crate::fixtures::{id, instance, query, service};

cases! { "stop":
    "D1" a_stop_drains_then_finishes_then_leaves
    "D1" a_dead_registry_delays_a_stop_and_does_not_prevent_it
    "D2" draining_is_picked_only_when_nothing_else_is_left
    "D3" a_rolling_restart_fails_no_call
}

/// Hosts in one process, and the network between them.
#[derive(Clone, Debug)]
struct Network {
    clock: Arc<dyn Clock>,
    hosts: Arc<Mutex<HashMap<InstanceId, Arc<Desk>>>>,
}

/// One host: open or not, and how many calls it is busy with.
#[derive(Debug)]
struct Desk {
    clock: Arc<dyn Clock>,
    open: AtomicBool,
    busy: AtomicUsize,
    finishing: Duration,
}

impl Network {
    fn new(cx: &Ctx) -> Self {
        Self { clock: cx.clock(), hosts: Arc::default() }
    }

    /// A host that needs `finishing` for what is in flight.
    fn open(&self, at: &InstanceId, finishing: Duration) -> Arc<Desk> {
        let (open, busy) = (AtomicBool::new(true), AtomicUsize::new(0));
        let desk = Arc::new(Desk { clock: Arc::clone(&self.clock), open, busy, finishing });
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(at.clone(), Arc::clone(&desk));
        desk
    }
}

#[async_trait]
impl Caller for Network {
    fn speaks(&self, _: &Address) -> bool {
        true
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let desk = peer.life.and_then(|(id, _)| {
            self.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
        });
        let gone = || CallError::new(ErrorKind::Unavailable.into(), "nobody is there");
        let desk = desk.filter(|desk| desk.open.load(Ordering::Relaxed)).ok_or_else(gone)?;
        desk.busy.fetch_add(1, Ordering::Relaxed);
        self.clock.sleep_until(self.clock.now() + Duration::from_millis(20)).await;
        desk.busy.fetch_sub(1, Ordering::Relaxed);
        Ok(Reply::new(call.payload))
    }
}

#[async_trait]
impl Host for Desk {
    fn offers(&self) -> Vec<Offer> {
        Vec::new()
    }

    async fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.clock.sleep_until(self.clock.now() + self.finishing).await;
        while self.busy.load(Ordering::Relaxed) > 0 {
            self.clock.sleep_until(self.clock.now() + Duration::from_millis(10)).await;
        }
    }
}

async fn a_stop_drains_then_finishes_then_leaves(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let member = handle.join("i", "a", cx.terms()).await?;
    // Longer than its lease lives without a beat.
    let finishing = cx.terms().ttl() * 2;
    let desk = Network::new(cx).open(&id("i"), finishing);
    let options = StopOptions::default().with_drain(finishing * 2);
    let stopping = member.stop(Some(&*desk), options);
    let watching = async {
        cx.advance(options.notice / 2).await;
        let seen = state(cx).await?;
        check_eq(&seen, &Some((Health::Online, Phase::Draining)), "before callers have seen it")?;
        check(desk.open.load(Ordering::Relaxed), "it refuses calls before callers know")?;
        cx.advance(options.notice + finishing / 2).await;
        check(!desk.open.load(Ordering::Relaxed), "it takes calls while it finishes")?;
        cx.advance(finishing / 4).await;
        let seen = state(cx).await?;
        check_eq(&seen, &Some((Health::Online, Phase::Draining)), "while it finishes")?;
        cx.advance(finishing / 2).await;
        check_eq(&state(cx).await?, &None, "when it has stopped")
    };
    let (stopped, watched) = tokio::join!(stopping, watching);
    watched?;
    Ok(stopped?)
}

async fn state(cx: &Ctx) -> Result<Option<(Health, Phase)>, Failure> {
    let view = cx.all().await?;
    Ok(view.instance(&id("i")).map(|i| (i.health, i.phase)))
}

async fn a_dead_registry_delays_a_stop_and_does_not_prevent_it(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let member = handle.join("i", "a", cx.terms()).await?;
    let desk = Network::new(cx).open(&id("i"), Duration::from_millis(100));
    handle.faults.set(Fault::Failing);
    let begun = cx.now();
    let (stopped, ()) = tokio::join!(
        async {
            let stopped = member.stop(Some(&*desk), StopOptions::default()).await;
            (stopped, cx.now())
        },
        cx.advance(Duration::from_secs(20))
    );
    let (answer, ended) = stopped;
    check(answer.is_err(), "a registry that is away was told")?;
    check(!desk.open.load(Ordering::Relaxed), "the host was not closed")?;
    let took = ended.since(begun);
    check(took <= Duration::from_secs(7), format_args!("the stop took {took:?}"))
}

async fn draining_is_picked_only_when_nothing_else_is_left(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let view = handle.client.follow(&service("a"));
    view.ready().await?;
    let spec = |name: &str, phase| instance(name, "a", cx.terms()).with_phase(phase);
    cx.registry().connect_one(spec("draining", Phase::Draining)).await?;
    cx.registry().connect_one(spec("starting", Phase::Starting)).await?;
    cx.moment(|| view.current().instances.len() == 2).await;
    check_eq(&picked(&view), &vec!["draining".to_owned()], "who is picked, with nobody ready")?;
    cx.registry().connect_one(spec("ready", Phase::Ready)).await?;
    cx.moment(|| view.current().instances.len() == 3).await;
    check_eq(&picked(&view), &vec!["ready".to_owned()], "who is picked, with somebody ready")
}

/// Instances that are restarted, and calls per second meanwhile.
const INSTANCES: usize = 20;
const AT_A_TIME: usize = 4;
const RATE: u32 = 50;

async fn a_rolling_restart_fails_no_call(cx: &Ctx) -> Result<(), Failure> {
    let handle = Handle::open(cx).await?;
    let network = Network::new(cx);
    let mut running = Vec::new();
    for n in 0..INSTANCES {
        running.push(start(cx, &handle, &network, n).await?);
    }
    let caller: Arc<dyn Caller> = Arc::new(network.clone());
    let channel = handle.client.channel(&service("a"), caller, ChannelOptions::default());
    channel.view().ready().await?;
    // Some at a time, so that the others can take over.
    let restarting = async {
        let mut restarted = Vec::new();
        while !running.is_empty() {
            let wave = running.drain(..AT_A_TIME).map(|(n, member, desk)| {
                let (handle, network) = (&handle, &network);
                async move {
                    member.stop(Some(&*desk), StopOptions::default()).await?;
                    start(cx, handle, network, n).await
                }
            });
            restarted.extend(join_all(wave).await);
        }
        restarted.into_iter().collect::<Result<Vec<_>, Failure>>()
    };
    let (restarted, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let calling = async {
        let calls = call_until(cx, &channel, &restarted).await;
        ended.store(true, Ordering::Relaxed);
        calls
    };
    let restarting = async {
        let running = restarting.await;
        restarted.store(true, Ordering::Relaxed);
        running
    };
    let time = async {
        while !ended.load(Ordering::Relaxed) || !restarted.load(Ordering::Relaxed) {
            cx.advance(Duration::from_millis(100)).await;
        }
    };
    let (running, calls, ()) = tokio::join!(restarting, calling, time);
    let _running = running?;
    check(calls? > 40, "hardly a call was made")?;
    let view = cx.registry().resolve(&query("a")).await?;
    check_eq(&view.instances.len(), &INSTANCES, "who is there in the end")
}

/// Calls one after the other; how many there were.
async fn call_until(cx: &Ctx, channel: &Channel, over: &AtomicBool) -> Result<u32, Failure> {
    let mut calls = 0_u32;
    while !over.load(Ordering::Relaxed) {
        let call = Call::new(service("a"), "m", Vec::new().into());
        let answer = channel.call(call).await;
        answer.map_err(|error| Failure::new(format!("call {calls} failed: {error}")))?;
        calls += 1;
        cx.clock().sleep_until(cx.now() + Duration::from_secs(1) / RATE).await;
    }
    Ok(calls)
}

async fn start(
    cx: &Ctx,
    handle: &Handle,
    network: &Network,
    n: usize,
) -> Result<(usize, Membership, Arc<Desk>), Failure> {
    let name = format!("i{n}");
    let desk = network.open(&id(&name), Duration::ZERO);
    let member = handle.join_with(anew(&name, "a", cx.terms())).await?;
    Ok((n, member, desk))
}
