//! Beats: those of a few milliseconds are one statement.

mod renew;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use registry_api::{Beat, BeatOutcome, Epoch, Error, ErrorKind, InstanceId, Result};
use tokio::sync::{mpsc, oneshot};

use self::renew::renew;
use self::slots::Slots;
use crate::lane::{Lane, closed};
use crate::session::Session;
use crate::store::Store;

/// How long a beat waits for others.
const WINDOW: Duration = Duration::from_millis(2);
/// The most beats of one statement: more gain nothing and hold locks longer.
const MOST: usize = 1_000;
/// Beats that may wait. Whoever comes after that is told so.
const WAITING: usize = 1_024;

/// One life that is said to be alive.
type Life = (InstanceId, Epoch);

/// A call that waits for its outcomes.
struct Call {
    count: usize,
    lives: Vec<Life>,
    answer: oneshot::Sender<Result<Vec<BeatOutcome>>>,
}

/// Takes beats; its task ends with it.
#[derive(Debug)]
pub(crate) struct Beats {
    calls: mpsc::Sender<Call>,
    _lane: Lane,
}

impl Beats {
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let (calls, waiting) = mpsc::channel(WAITING);
        let lane =
            Lane::spawn(Flusher { store, waiting, session: None, slots: Slots::default() }.run());
        Self { calls, _lane: lane }
    }

    /// Renews leases: one outcome per beat, in order.
    pub(crate) async fn beat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let lives: Vec<_> = beats.iter().map(|beat| (beat.id.clone(), beat.epoch)).collect();
        let (answer, answered) = oneshot::channel();
        let sent = self.calls.try_send(Call { count: lives.len(), lives, answer });
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorKind::Overloaded, "too many heartbeats wait for the database")
            }
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

struct Flusher {
    store: Arc<Store>,
    waiting: mpsc::Receiver<Call>,
    session: Option<Session>,
    slots: Slots,
}

impl Flusher {
    async fn run(mut self) {
        while let Some(mut calls) = self.next().await {
            let lives = calls.iter_mut().flat_map(|call| std::mem::take(&mut call.lives));
            let done = self.flush(lives.collect()).await;
            let mut outcomes = done.map(Vec::into_iter);
            for call in calls {
                let answer = match &mut outcomes {
                    Ok(outcomes) => Ok(outcomes.take(call.count).collect()),
                    Err(error) => Err(again(error)),
                };
                let _ = call.answer.send(answer); // Nobody may wait any more.
            }
        }
    }

    /// The calls of one window.
    async fn next(&mut self) -> Option<Vec<Call>> {
        let first = self.waiting.recv().await?;
        let mut count = first.count;
        let mut calls = vec![first];
        let window = tokio::time::sleep(WINDOW);
        tokio::pin!(window);
        while count < MOST {
            tokio::select! {
                biased;
                call = self.waiting.recv() => {
                    let Some(call) = call else { break };
                    count += call.count;
                    calls.push(call);
                }
                () = &mut window => break,
            }
        }
        Some(calls)
    }

    async fn flush(&mut self, lives: Vec<Life>) -> Result<Vec<BeatOutcome>> {
        let mut outcomes = Vec::with_capacity(lives.len());
        for lives in lives.chunks(MOST) {
            outcomes.extend(self.renew(lives).await?);
        }
        if outcomes.contains(&BeatOutcome::Revived) {
            self.store.revived.notify_one();
        }
        Ok(outcomes)
    }

    /// Renews on the connection that is kept. It may have died since it was used
    /// last; beating twice is beating once, so another one is tried then.
    async fn renew(&mut self, lives: &[Life]) -> Result<Vec<BeatOutcome>> {
        if let Some(mut kept) = self.session.take() {
            match renew(&self.store, &mut kept, &mut self.slots, lives).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                done => {
                    self.session = Some(kept);
                    return done;
                }
            }
        }
        let mut session = self.store.session().await?;
        let done = renew(&self.store, &mut session, &mut self.slots, lives).await?;
        self.session = Some(session);
        Ok(done)
    }
}

/// The same error for one more caller.
pub(crate) fn again(error: &Error) -> Error {
    let applied = match error.may_have_applied() {
        true => registry_api::Applied::Unknown,
        false => registry_api::Applied::No,
    };
    let facts = error.facts().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let copy = Error::new(error.kind(), error.message()).applied(applied);
    facts.fold(copy, |copy, (key, value)| copy.with(key, value))
}
