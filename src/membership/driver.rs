//! The one task of a client: connects and beats for all members in batches.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use registry_api::kernel::Step;
use registry_api::{
    Applied, Beat, BeatOutcome, Clock, Error, ErrorKind, InstanceRef, InstanceSpec, Lease, Limits,
    Registry, Result, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::member::Member;
use super::{Membership, MembershipState};

/// Beats that are due this soon go with the ones that are due now.
const WINDOW: Duration = Duration::from_millis(20);
/// An answer that takes longer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to the task. The task ends when the last way is gone and everybody
/// has left, at most [`PATIENCE`] later.
#[derive(Clone)]
pub(crate) struct Driver {
    orders: Orders,
    next_key: Arc<AtomicU64>,
}

#[derive(Clone)]
pub(super) struct Orders(mpsc::UnboundedSender<Order>);

/// What members ask for. Bounded by what the application does: one per call.
pub(super) enum Order {
    Join(u64, Box<InstanceSpec>, watch::Sender<MembershipState>),
    Leave(u64, Option<oneshot::Sender<Result<()>>>),
    Update(u64, Box<dyn FnOnce(&mut InstanceSpec) + Send>),
}

impl Orders {
    /// The task outlives every sender, unless its runtime is gone; then there
    /// is nobody left to act for.
    pub(super) fn send(&self, order: Order) {
        let _ = self.0.send(order);
    }
}

impl Driver {
    pub(crate) fn start(registry: Arc<dyn Registry>, clock: Arc<dyn Clock>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let work = Work { registry, clock, members: HashMap::new() };
        tokio::spawn(work.run(inbox));
        Self { orders: Orders(orders), next_key: Arc::default() }
    }

    pub(crate) fn join(&self, spec: InstanceSpec) -> Membership {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let connecting = MembershipState::Connecting { refusal: None };
        let (state, told) = watch::channel(connecting);
        let id = spec.id.clone();
        self.orders.send(Order::Join(key, Box::new(spec), state));
        Membership { id, key, orders: self.orders.clone(), state: told }
    }
}

struct Work {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    members: HashMap<u64, Member>,
}

/// What goes out together.
#[derive(Default)]
struct Round {
    joining: Vec<(u64, u64)>,
    specs: Vec<InstanceSpec>,
    beating: Vec<u64>,
    beats: Vec<Beat>,
}

/// What came back.
struct Answers {
    round: Round,
    sent: Timestamp,
    leases: Result<Vec<Result<Lease>>>,
    outcomes: Result<Vec<BeatOutcome>>,
}

impl Work {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let mut under_way: Option<BoxFuture<'static, Answers>> = None;
        loop {
            if under_way.is_none() {
                under_way = self.round().map(|round| self.send(round));
            }
            let wake = self.next_step();
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                answers = wait(&mut under_way) => {
                    under_way = None;
                    self.take(answers);
                }
                () = self.clock.sleep_until(wake), if under_way.is_none() => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Join(key, spec, state) => {
                self.members.insert(key, Member::new(*spec, state));
            }
            Order::Update(key, change) => {
                let now = self.clock.now();
                if let Some(member) = self.members.get_mut(&key) {
                    member.update(change, now);
                }
            }
            Order::Leave(key, done) => {
                if let Some(member) = self.members.remove(&key) {
                    self.leave(&member, done);
                }
            }
        }
    }

    fn leave(&self, member: &Member, done: Option<oneshot::Sender<Result<()>>>) {
        member.left();
        self.disconnect(member.reference(), done);
    }

    /// Leaving never waits behind anything, and nothing waits behind it.
    fn disconnect(
        &self,
        reference: Option<InstanceRef>,
        done: Option<oneshot::Sender<Result<()>>>,
    ) {
        let (registry, clock) = (Arc::clone(&self.registry), Arc::clone(&self.clock));
        tokio::spawn(async move {
            let answer = match reference {
                Some(reference) => {
                    let disconnect = registry.disconnect(std::slice::from_ref(&reference));
                    in_time(&*clock, disconnect).await
                }
                None => Ok(()), // Never joined, as far as anybody knows.
            };
            if let Some(done) = done {
                let _ = done.send(answer); // Nobody has to wait for it.
            }
        });
    }

    /// What is due now, if anything is.
    fn round(&self) -> Option<Round> {
        let soon = self.clock.now() + WINDOW;
        let mut round = Round::default();
        for (key, member) in &self.members {
            if round.specs.len() + round.beats.len() >= Limits::MAX_BATCH {
                break;
            }
            match member.step(soon) {
                Step::Connect => {
                    let (version, spec) = member.spec();
                    round.joining.push((*key, version));
                    round.specs.push(spec);
                }
                Step::Beat => {
                    if let Some(beat) = member.beat() {
                        round.beating.push(*key);
                        round.beats.push(beat);
                    }
                }
                Step::Stop | Step::Wait(_) => {}
            }
        }
        (!round.specs.is_empty() || !round.beats.is_empty()).then_some(round)
    }

    fn send(&self, round: Round) -> BoxFuture<'static, Answers> {
        let (registry, clock) = (Arc::clone(&self.registry), Arc::clone(&self.clock));
        async move {
            let sent = clock.now();
            let connect = async {
                match round.specs.is_empty() {
                    true => Ok(Vec::new()),
                    false => in_time(&*clock, registry.connect(&round.specs)).await,
                }
            };
            let beat = async {
                match round.beats.is_empty() {
                    true => Ok(Vec::new()),
                    false => in_time(&*clock, registry.heartbeat(&round.beats)).await,
                }
            };
            let (leases, outcomes) = tokio::join!(connect, beat);
            Answers { round, sent, leases, outcomes }
        }
        .boxed()
    }

    fn take(&mut self, answers: Answers) {
        let now = self.clock.now();
        let sent = answers.sent;
        let leases = spread(answers.leases, answers.round.joining.len());
        for ((key, version), lease) in answers.round.joining.into_iter().zip(leases) {
            let lease = lease.and_then(|lease| lease);
            match (self.members.get_mut(&key), lease) {
                (Some(member), lease) => member.connected(lease, version, sent, now),
                // It left while its connect was under way.
                (None, Ok(Lease { id, epoch, .. })) => {
                    self.disconnect(Some(InstanceRef { id, epoch }), None);
                }
                (None, Err(_)) => {}
            }
        }
        let outcomes = spread(answers.outcomes, answers.round.beating.len());
        for (key, outcome) in answers.round.beating.into_iter().zip(outcomes) {
            if let Some(member) = self.members.get_mut(&key) {
                member.beaten(outcome, sent, now);
            }
        }
    }

    /// When somebody has something to do again.
    fn next_step(&self) -> Timestamp {
        let now = self.clock.now();
        let due = self.members.values().filter_map(|member| match member.step(now) {
            Step::Wait(until) => Some(until),
            Step::Beat | Step::Connect => Some(now),
            Step::Stop => None,
        });
        due.min().unwrap_or(now + Duration::from_secs(3600))
    }
}

async fn wait(under_way: &mut Option<BoxFuture<'static, Answers>>) -> Answers {
    match under_way {
        Some(answers) => answers.await,
        None => std::future::pending().await,
    }
}

async fn in_time<T>(clock: &dyn Clock, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        answer = call => answer,
        () = clock.sleep_until(clock.now() + PATIENCE) => {
            let lost = Error::new(ErrorKind::Timeout, "the registry did not answer in time");
            Err(lost.applied(Applied::Unknown))
        }
    }
}

/// One answer per entry: a failed batch failed for each of them.
fn spread<T>(batch: Result<Vec<T>>, count: usize) -> Vec<Result<T>> {
    match batch {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => {
            let again = || {
                let copy = Error::new(error.kind(), error.to_string());
                match error.retry_delay() {
                    Some(delay) => copy.retry_after(delay),
                    None => copy,
                }
            };
            (0..count).map(|_| Err(again())).collect()
        }
    }
}

impl Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}
