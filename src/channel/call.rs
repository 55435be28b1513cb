//! One call, through all policies: the only place that knows their order.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use registry_api::call::{Call, CallError, CallErrorKind, Reply};
use registry_api::{ErrorKind, Timestamp};

use super::breaker::Admitted;
use super::node::Node;
use super::roster::Facts;
use super::slot::Slot;
use super::{Ask, Balance, Core, hash};
use crate::view::ServiceView;

/// A call under way.
struct Calling<'a> {
    core: &'a Core,
    call: Call,
    deadline: Timestamp,
    idempotent: bool,
    key: Option<u64>,
    /// When a second instance is asked, if the first has not answered.
    hedge_after: Option<Duration>,
}

/// One attempt: its instance counts as busy while it lasts.
struct Attempt<'a> {
    core: &'a Core,
    slot: Slot,
    begun: Timestamp,
    admitted: Option<Admitted>,
    ended: bool,
}

/// What an attempt's end says about the instance and its endpoint.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Broken,
    Busy,
    Fine,
    /// It says nothing about the instance.
    Silent,
}

/// Before somebody is asked again who failed, at most.
const PAUSE: Duration = Duration::from_millis(50);

impl Core {
    pub(super) async fn call(&self, view: &ServiceView, call: Call) -> Result<Reply, CallError> {
        self.options.counters.calls.add();
        let begun = self.clock.now();
        self.tick(begun);
        let deadline = |facts: Facts| begun + self.options.timeouts.of(call.timeout, facts.sla);
        let mut facts = self.roster.load().facts(&call.method);
        let entered = self.gate.enter(&*self.clock, deadline(facts)).await;
        let _entered = entered.inspect_err(|_| self.options.counters.shed.add())?;
        if self.roster.load().followed.revision.is_none() {
            self.warm_up(view, deadline(facts)).await?;
            facts = self.roster.load().facts(&call.method);
        }
        let (deadline, Facts { sla, idempotent }) = (deadline(facts), facts);
        self.retries.deposit();
        let idempotent = call.idempotent || idempotent;
        let hedge_after = sla.filter(|_| idempotent && self.options.hedge.is_some());
        if hedge_after.is_some() {
            self.hedges.deposit();
        }
        let calling = Calling {
            core: self,
            deadline,
            idempotent,
            key: self.key(&call),
            hedge_after: hedge_after.map(|sla| sla.p95),
            call,
        };
        calling.run().await
    }

    /// Waits for the first answer of the registry.
    async fn warm_up(&self, view: &ServiceView, deadline: Timestamp) -> Result<(), CallError> {
        let failed = |kind: ErrorKind, reason: &str| CallError::new(kind.into(), reason).not_run();
        tokio::select! {
            biased;
            ready = view.ready() => {
                ready.map_err(|error| failed(error.kind(), error.message()))
            }
            () = self.clock.sleep_until(deadline) => {
                Err(failed(ErrorKind::Timeout, "the registry did not answer before the deadline"))
            }
        }
    }

    fn key(&self, call: &Call) -> Option<u64> {
        let Balance::Hash(bounded) = &self.options.balance else { return None };
        call.header(&bounded.header).map(|key| hash::hash(key.as_bytes()))
    }

    fn admit(&self, method: &str, now: Timestamp) -> Result<Option<Admitted>, CallError> {
        let Some(breakers) = &self.breakers else { return Ok(None) };
        breakers.of(method).admit(now).map(Some).map_err(|left| {
            self.options.counters.broken.add();
            let reason = format!(
                "{} of {} fails almost always and is not called for {} ms",
                method,
                self.service,
                left.as_millis()
            );
            CallError::new(ErrorKind::Overloaded.into(), reason)
        })
    }

    /// Takes note of how an attempt ended.
    fn note(&self, attempt: &mut Attempt<'_>, sign: Sign) {
        attempt.ended = true;
        let now = self.clock.now();
        let (took, tick) = (now.since(attempt.begun), self.tick(now));
        let node = &attempt.slot.node;
        match sign {
            Sign::Fine => node.answered(took, tick),
            Sign::Busy => node.refused(took, tick),
            Sign::Broken => {
                let streak = node.failed(took, tick);
                let all = self.roster.load().len();
                if let Some(policy) = &self.options.ejection
                    && self.ejected.consider(policy, node, streak, all, tick)
                {
                    self.options.counters.ejections.add();
                    let id = &attempt.slot.instance.id;
                    tracing::warn!(service = %self.service, %id, "an instance is ejected");
                }
            }
            Sign::Silent => return,
        }
        if let Some(admitted) = attempt.admitted.take() {
            admitted.ended(sign != Sign::Fine, now);
        }
    }
}

impl Calling<'_> {
    /// Attempts until one succeeds, or another is not safe, not allowed, or too
    /// late.
    async fn run(&self) -> Result<Reply, CallError> {
        let core = self.core;
        let mut tried = Vec::new();
        let mut last = None;
        loop {
            let mut attempt = match self.begin(&tried) {
                Ok(attempt) => attempt,
                Err(refusal) => return Err(last.unwrap_or(refusal)),
            };
            if tried.iter().any(|node| Arc::ptr_eq(node, &attempt.slot.node)) {
                // There is nobody else. What failed a moment ago gets a moment.
                let pause = PAUSE.mul_f64(fastrand::f64());
                core.clock.sleep_until(core.clock.now() + pause).await;
                attempt.begun = core.clock.now();
            }
            tried.push(Arc::clone(&attempt.slot.node));
            let error = match self.hedged(attempt, &mut tried).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let (retry, now) = (core.options.retry, core.clock.now());
            let again = tried.len() < retry.attempts as usize
                && now < self.deadline
                && retry.is_safe(&error, self.idempotent)
                && core.retries.withdraw(now);
            if !again {
                return Err(error);
            }
            core.options.counters.retries.add();
            last = Some(error);
        }
    }

    /// Picks somebody who was not tried, where there is one.
    fn begin(&self, tried: &[Arc<Node>]) -> Result<Attempt<'_>, CallError> {
        let core = self.core;
        let now = core.clock.now();
        if now >= self.deadline {
            return Err(
                CallError::new(ErrorKind::Timeout.into(), "the deadline has passed").not_run()
            );
        }
        let admitted = core.admit(&self.call.method, now)?;
        let roster = core.roster.load();
        let ask = Ask { key: self.key, tried };
        let place = core.choose(&roster, ask).ok_or_else(|| {
            let reason = format!("no healthy instance of {} is connected", core.service);
            CallError::new(CallErrorKind::NoInstance, reason)
        })?;
        let slot = roster.at(place).clone();
        core.enter(&slot.node);
        core.options.counters.attempts.add();
        Ok(Attempt { core, slot, begun: now, admitted, ended: false })
    }

    /// One attempt, and a second beside it where the first takes long.
    async fn hedged(
        &self,
        attempt: Attempt<'_>,
        tried: &mut Vec<Arc<Node>>,
    ) -> Result<Reply, CallError> {
        let Some(after) = self.hedge_after else { return self.ask(attempt).await };
        let core = self.core;
        let slow = attempt.begun + after;
        let mut first = pin!(self.ask(attempt));
        tokio::select! {
            biased;
            answer = &mut first => return answer,
            () = core.clock.sleep_until(slow) => {}
        }
        let Some(second) = self.second(tried) else { return first.await };
        tried.push(Arc::clone(&second.slot.node));
        core.options.counters.hedges.add();
        let mut second = pin!(self.ask(second));
        tokio::select! {
            biased;
            answer = &mut first => match answer {
                Ok(reply) => Ok(reply),
                Err(_) => second.await,
            },
            answer = &mut second => match answer {
                Ok(reply) => Ok(reply),
                Err(_) => first.await,
            },
        }
    }

    /// Another attempt at somebody else, if there is a budget and somebody.
    fn second(&self, tried: &[Arc<Node>]) -> Option<Attempt<'_>> {
        let core = self.core;
        let others = core.roster.load().len() > tried.len();
        let room = tried.len() < core.options.retry.attempts as usize;
        (others && room && core.hedges.withdraw(core.clock.now()))
            .then(|| self.begin(tried).ok())?
    }

    /// Asks one instance, with the time that is left.
    async fn ask(&self, mut attempt: Attempt<'_>) -> Result<Reply, CallError> {
        let core = self.core;
        let call = self.call.clone().with_timeout(self.deadline.since(attempt.begun));
        let answer = core.caller.call(attempt.slot.peer(), call).await;
        core.note(&mut attempt, Sign::of(&answer));
        answer
    }
}

impl Sign {
    fn of(answer: &Result<Reply, CallError>) -> Self {
        let Err(error) = answer else { return Self::Fine };
        match error.kind() {
            CallErrorKind::Application | CallErrorKind::UnknownMethod => Self::Fine,
            CallErrorKind::Framework | CallErrorKind::WrongInstance => Self::Broken,
            CallErrorKind::Registry(kind) => match kind {
                ErrorKind::Overloaded => Self::Busy,
                // An answer to this caller, and well for others; but what was not run is
                // an address that may not be dialled.
                ErrorKind::Unauthenticated => Self::Fine,
                ErrorKind::PermissionDenied if error.may_have_run() => Self::Fine,
                ErrorKind::Closed
                | ErrorKind::Corrupt
                | ErrorKind::PermissionDenied
                | ErrorKind::Timeout
                | ErrorKind::Unavailable => Self::Broken,
                _ => Self::Silent,
            },
            _ => Self::Silent,
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // Given up, or overtaken: how long it would have taken is not known,
            // but that it takes longer than this is.
            let now = self.core.clock.now();
            self.slot.node.outlasted(now.since(self.begun), self.core.tick(now));
        }
        self.core.leave(&self.slot.node);
    }
}
