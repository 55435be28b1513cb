//! Writes: those that wait together are one transaction.

use std::sync::Arc;

use registry_api::kernel::{Command, Outcome};
use registry_api::{Applied, InstanceId, InstanceSpec, Result};
use tokio::sync::mpsc;

use crate::dialect::Fault;
use crate::lane::{Call, Lane, again, ask};
use crate::retry::Tries;
use crate::session::{Failed, Session};
use crate::statements::CLEAR;
use crate::store::Store;
use crate::transaction::{self, Attempt};

/// The most instances or declarations of one transaction.
pub(crate) const MOST: usize = 500;
/// The most bytes of one transaction that is made of several writes, about.
const BYTES: usize = 1024 * 1024;
/// Writes that may wait. Whoever comes after that is told so.
const WAITING: usize = 10_000;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Command(Command),
    /// Tell of these, whose leases are not what watchers were told.
    Sweep(Vec<InstanceId>),
}

/// A write that waits for its answer.
type Asked = Call<Work, Outcome>;

/// Takes writes; its task ends with it.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    calls: mpsc::Sender<Asked>,
    _lane: Arc<Lane>,
}

impl Writer {
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let (calls, waiting) = mpsc::channel(WAITING);
        let committer = Committer { store, waiting, held: None, session: None };
        Self { calls, _lane: Arc::new(Lane::spawn(committer.run())) }
    }

    /// Writes, together with others.
    pub(crate) async fn write(&self, work: Work) -> Result<Outcome> {
        ask(&self.calls, work, "too many writes wait for the database").await
    }
}

struct Committer {
    store: Arc<Store>,
    waiting: mpsc::Receiver<Asked>,
    /// A call that was too much for the last transaction.
    held: Option<Asked>,
    session: Option<Session>,
}

impl Committer {
    async fn run(mut self) {
        while let Some(calls) = self.next().await {
            let works: Vec<_> = calls.iter().map(|call| call.question.clone()).collect();
            match self.commit(&works).await {
                Ok(outcomes) => {
                    self.store.written.notify_one();
                    for (call, outcome) in calls.into_iter().zip(outcomes) {
                        call.answer(Ok(outcome));
                    }
                }
                Err(error) => {
                    // The callers get copies, without the driver's own words.
                    tracing::debug!(?error, "a transaction failed");
                    for call in calls {
                        call.answer(Err(again(&error)));
                    }
                }
            }
        }
    }

    /// The writes of the next transaction: all that wait, within bounds.
    async fn next(&mut self) -> Option<Vec<Asked>> {
        let first = match self.held.take() {
            Some(held) => held,
            None => self.waiting.recv().await?,
        };
        let (mut count, mut bytes) = weight(&first.question);
        let mut calls = vec![first];
        while let Ok(call) = self.waiting.try_recv() {
            let (more, more_bytes) = weight(&call.question);
            (count, bytes) = (count + more, bytes + more_bytes);
            if count > MOST || bytes > BYTES {
                self.held = Some(call);
                break;
            }
            calls.push(call);
        }
        Some(calls)
    }

    async fn commit(&mut self, works: &[Work]) -> Result<Vec<Outcome>> {
        let mut tries = Tries::new();
        loop {
            let store = Arc::clone(&self.store);
            let turn = store.turn().await;
            let mut session = self.begin().await?;
            let attempt = transaction::attempt(&self.store, &mut session, works).await;
            drop(turn);
            match attempt {
                Ok(Attempt::Committed(outcomes)) => {
                    self.session = Some(session);
                    return Ok(outcomes);
                }
                Ok(Attempt::Jumped { asked, now, term }) => {
                    self.session = Some(session);
                    self.store.believes(asked, now, term).await?;
                }
                Err(failed) => self.recover(session, failed, &mut tries).await?,
            }
        }
    }

    /// A connection in a transaction. The one that is kept may have died since it
    /// was used last, and nothing is lost by trying another.
    async fn begin(&mut self) -> Result<Session> {
        if let Some(mut kept) = self.session.take()
            && kept.begin().await.is_ok()
        {
            return Ok(kept);
        }
        let mut session = self.store.session().await?.patient();
        session.begin().await?;
        Ok(session)
    }

    /// Makes the next try possible, if there is to be one.
    async fn recover(
        &mut self,
        mut session: Session,
        failed: Failed,
        tries: &mut Tries,
    ) -> Result<()> {
        let fault = failed.fault;
        tries.again(failed).await?;
        session.rollback().await?;
        if fault == Fault::Taken {
            session.run(CLEAR, &[self.store.ns.into(), self.store.ns.into()]).await?;
        }
        self.session = Some(session);
        Ok(())
    }
}

/// How many records a write is about, and about how many bytes they have.
fn weight(work: &Work) -> (usize, usize) {
    match work {
        Work::Sweep(ids) => (ids.len(), 0),
        Work::Command(command) => match command {
            Command::Connect(specs) => (specs.len(), specs.iter().map(InstanceSpec::size).sum()),
            Command::Delist(delists) => (delists.len(), 0),
            Command::Deregister(_, services) => (services.len(), 0),
            Command::Disconnect(instances) | Command::Renew(instances) => (instances.len(), 0),
            Command::Register(registration) => {
                let idl = registration.services.iter().map(|spec| spec.idl.len());
                (registration.services.len(), idl.sum())
            }
        },
    }
}

/// A list of instances in parts that make one transaction each at most.
pub(crate) fn parts(specs: &[InstanceSpec]) -> Vec<&[InstanceSpec]> {
    let mut parts = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (place, spec) in specs.iter().enumerate() {
        let more = spec.size();
        if place > start && (place - start >= MOST || size + more > BYTES) {
            parts.push(&specs[start..place]);
            (start, size) = (place, 0);
        }
        size += more;
    }
    parts.push(&specs[start..]);
    parts
}

/// An error of a transaction that may have been committed.
pub(crate) fn doubtful(failed: Failed) -> Failed {
    Failed { error: failed.error.applied(Applied::Unknown), ..failed }
}
