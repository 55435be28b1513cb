//! The one task of a client: connects and beats for all members in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use registry_api::kernel::{Reconnect, Step};
use registry_api::{
    Applied, Beat, BeatOutcome, Clock, Error, ErrorKind, InstanceRef, InstanceSpec, Lease,
    LeaseTerms, Limits, Registration, Registry, Result, ServiceRecord, Timestamp,
};
use tokio::sync::{mpsc, oneshot};

use super::declaration::Declared;
use super::driver::Order;
use super::member::Member;
use super::pulse::Pulse;

/// What is due this soon goes with what is due now.
const WINDOW: Duration = Duration::from_millis(20);
/// An answer that takes longer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// A process is not called stuck before so many of its longest ttl passed.
const TTLS: u32 = 4;
/// With nothing to do there is still an inbox.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Work {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    pulse: Option<Arc<Pulse>>,
    members: HashMap<u64, Member>,
    declared: HashMap<u64, Declared>,
    /// The registry did not answer lately: it may have lost what was declared.
    away: bool,
    /// Whose connects are under way; what has left meanwhile waits there.
    connecting: HashMap<u64, Option<Leaving>>,
    /// Disconnects under way.
    goodbyes: FuturesUnordered<BoxFuture<'static, ()>>,
    reconnect: Reconnect,
    /// The heartbeat interval that `reconnect` is made for: the shortest.
    interval: Duration,
}

/// Someone who left while a connect was under way: should that arrive later than
/// a disconnect, nobody would ever take the instance away.
struct Leaving {
    reference: Option<InstanceRef>,
    done: Option<oneshot::Sender<Result<()>>>,
}

/// What goes out together.
#[derive(Default)]
struct Round {
    declaring: Vec<u64>,
    registrations: Vec<Registration>,
    joining: Vec<(u64, u64)>,
    specs: Vec<InstanceSpec>,
    beating: Vec<u64>,
    beats: Vec<Beat>,
}

/// What came back.
struct Answers {
    round: Round,
    sent: Timestamp,
    records: Vec<Result<Vec<Arc<ServiceRecord>>>>,
    leases: Result<Vec<Result<Lease>>>,
    outcomes: Result<Vec<BeatOutcome>>,
}

impl Work {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
        pulse: Option<Arc<Pulse>>,
    ) -> Self {
        let interval = LeaseTerms::default().heartbeat_interval();
        let reconnect = Reconnect::new(interval, fastrand::u64(..));
        Self {
            registry,
            clock,
            pulse,
            members: HashMap::new(),
            declared: HashMap::new(),
            away: false,
            connecting: HashMap::new(),
            goodbyes: FuturesUnordered::new(),
            reconnect,
            interval,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let mut under_way: Option<BoxFuture<'static, Answers>> = None;
        loop {
            let now = self.clock.now();
            self.tell(now);
            if under_way.is_none() {
                under_way = self.round(now).map(|round| self.send(round));
            }
            let wake = self.next_step(now);
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                Some(()) = self.goodbyes.next(), if !self.goodbyes.is_empty() => {}
                answers = wait(&mut under_way) => {
                    under_way = None;
                    self.take(answers);
                }
                () = self.clock.sleep_until(wake), if under_way.is_none() => {}
            }
        }
        // Everybody has left. What they said last is still said.
        if let Some(under_way) = under_way {
            self.take(under_way.await);
        }
        while self.goodbyes.next().await.is_some() {}
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Declare(key, registration, state) => {
                let declared = Declared::new(*registration, state, self.clock.now());
                self.declared.insert(key, declared);
            }
            Order::Forget(key) => {
                self.declared.remove(&key);
            }
            Order::Join(key, spec, state) => {
                self.pace(spec.terms);
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
                    member.left();
                    let leaving = Leaving { reference: member.reference(), done };
                    match self.connecting.get_mut(&key) {
                        Some(waiting) => *waiting = Some(leaving),
                        None => self.disconnect(leaving),
                    }
                }
            }
        }
    }

    /// Returns are spread over the shortest interval there is.
    fn pace(&mut self, terms: LeaseTerms) {
        let interval = terms.heartbeat_interval();
        if self.members.is_empty() || interval < self.interval {
            self.interval = interval;
            self.reconnect = Reconnect::new(interval, fastrand::u64(..));
        }
    }

    /// Nothing waits behind somebody who leaves.
    fn disconnect(&self, Leaving { reference, done }: Leaving) {
        let (registry, clock) = (Arc::clone(&self.registry), Arc::clone(&self.clock));
        self.goodbyes.push(Box::pin(async move {
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
        }));
    }

    /// Members whose lease may have ended without a word say so.
    fn tell(&self, now: Timestamp) {
        self.members.values().for_each(|member| member.tell_if_lost(now));
    }

    /// What goes out now, if anything is due.
    fn round(&mut self, now: Timestamp) -> Option<Round> {
        if now < self.reconnect.ready_at() || self.is_stuck(now) {
            return None;
        }
        let soon = now + WINDOW;
        let returning = self.members.values().any(|member| member.is_returning(soon));
        let may_return = returning && self.reconnect.may_return(now);
        if may_return {
            // Who lost the instances may have lost more.
            self.declared.values_mut().for_each(|declared| declared.doubt(now));
        }
        let mut round = self.declarations(soon);
        let due = |member: &Member| matches!(member.step(soon), Step::Beat | Step::Connect);
        if !self.members.values().any(due) {
            return (!round.declaring.is_empty()).then_some(round);
        }
        for (key, member) in &self.members {
            if round.specs.len() + round.beats.len() >= Limits::MAX_BATCH {
                break;
            }
            match member.step_along(soon) {
                Step::Connect if member.is_returning(soon) && !may_return => {}
                Step::Connect => {
                    let (version, spec) = member.spec();
                    round.joining.push((*key, version));
                    self.connecting.insert(*key, None);
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
        let empty = round.declaring.is_empty() && round.specs.is_empty() && round.beats.is_empty();
        (!empty).then_some(round)
    }

    /// A round of the declarations that are due.
    fn declarations(&self, soon: Timestamp) -> Round {
        let mut round = Round::default();
        for (key, declared) in &self.declared {
            if declared.due().is_some_and(|due| due <= soon) {
                round.declaring.push(*key);
                round.registrations.push(declared.registration());
            }
        }
        round
    }

    fn is_stuck(&self, now: Timestamp) -> bool {
        let Some(pulse) = &self.pulse else { return false };
        let longest = self.members.values().map(|member| member.terms().ttl()).max();
        pulse.is_stuck(now, longest.unwrap_or_default() * TTLS)
    }

    fn send(&self, round: Round) -> BoxFuture<'static, Answers> {
        let (registry, clock) = (Arc::clone(&self.registry), Arc::clone(&self.clock));
        async move {
            // First of all, so that nobody joins a service that is not declared.
            let mut records = Vec::new();
            for registration in &round.registrations {
                let register = registry.register(registration.clone());
                records.push(in_time(&*clock, register).await);
            }
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
            Answers { round, sent, records, leases, outcomes }
        }
        .boxed()
    }

    fn take(&mut self, answers: Answers) {
        let now = self.clock.now();
        let Answers { round, sent, records, leases, outcomes } = answers;
        let unheard = records.iter().filter_map(|answer| answer.as_ref().err());
        let unheard = unheard.filter(|error| error.is_retryable());
        let unheard = unheard.chain(leases.as_ref().err()).chain(outcomes.as_ref().err()).next();
        match unheard {
            Some(error) => {
                let listed = self.members.values().any(|member| member.is_listed(now));
                self.reconnect.failed(error, listed, now);
            }
            None => self.reconnect.answered(),
        }
        let was_away = std::mem::replace(&mut self.away, unheard.is_some());
        if was_away && !self.away {
            self.declared.values_mut().for_each(|declared| declared.doubt(now));
        }
        for (key, answer) in round.declaring.into_iter().zip(records) {
            if let Some(declared) = self.declared.get_mut(&key) {
                declared.answered(answer, now);
            }
        }
        match leases {
            Ok(leases) => self.connected(round.joining, leases, sent, now),
            Err(error) => {
                for (key, _) in round.joining {
                    self.arrived(key, None);
                    if let Some(member) = self.members.get(&key) {
                        member.unheard(&error);
                    }
                }
            }
        }
        for (key, outcome) in round.beating.into_iter().zip(outcomes.unwrap_or_default()) {
            if let Some(member) = self.members.get_mut(&key) {
                member.beaten(outcome, sent, now);
            }
        }
    }

    fn connected(
        &mut self,
        joining: Vec<(u64, u64)>,
        leases: Vec<Result<Lease>>,
        sent: Timestamp,
        now: Timestamp,
    ) {
        for ((key, version), lease) in joining.into_iter().zip(leases) {
            self.arrived(key, lease.as_ref().ok());
            if let Some(member) = self.members.get_mut(&key) {
                member.connected(lease, version, sent, now);
            }
        }
    }

    /// A connect was answered: who left meanwhile can be taken away now.
    fn arrived(&mut self, key: u64, lease: Option<&Lease>) {
        if let Some(Some(mut leaving)) = self.connecting.remove(&key) {
            let granted = lease.map(|Lease { id, epoch, .. }| (id.clone(), *epoch));
            let granted = granted.map(|(id, epoch)| InstanceRef { id, epoch });
            leaving.reference = granted.or(leaving.reference);
            self.disconnect(leaving);
        }
    }

    /// When somebody has something to do again.
    fn next_step(&self, now: Timestamp) -> Timestamp {
        let due = self.members.values().filter_map(|member| match member.step(now) {
            Step::Wait(until) => Some(until),
            Step::Connect if member.is_returning(now) => Some(self.reconnect.returns_at(now)),
            Step::Beat | Step::Connect => Some(now),
            Step::Stop => None,
        });
        let due = due.chain(self.declared.values().filter_map(Declared::due));
        let due = due.min().unwrap_or(now + IDLE).max(self.reconnect.ready_at());
        // One that is stuck is looked at again; one that rests says when its
        // lease has ended.
        let stuck = self.is_stuck(now).then_some(now + self.interval);
        let ends = self.members.values().filter_map(|member| member.lease_ends(now)).min();
        let due = stuck.map_or(due, |look| due.max(look));
        ends.map_or(due, |ends| due.min(ends))
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
