//! Beats: those of a few milliseconds are one statement.

mod renew;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use registry_api::{Beat, BeatOutcome, Epoch, ErrorKind, InstanceId, Result};
use tokio::sync::mpsc;

use self::renew::renew;
use self::slots::Slots;
use crate::lane::{Call, Lane, again, ask};
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

/// Lives that wait for their outcomes.
type Asked = Call<Vec<Life>, Vec<BeatOutcome>>;

/// Takes beats; its task ends with it.
#[derive(Debug)]
pub(crate) struct Beats {
    calls: mpsc::Sender<Asked>,
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
        let lives = beats.iter().map(|beat| (beat.id.clone(), beat.epoch)).collect();
        ask(&self.calls, lives, "too many heartbeats wait for the database").await
    }
}

struct Flusher {
    store: Arc<Store>,
    waiting: mpsc::Receiver<Asked>,
    session: Option<Session>,
    slots: Slots,
}

impl Flusher {
    async fn run(mut self) {
        while let Some(calls) = self.next().await {
            let lives = calls.iter().flat_map(|call| call.question.iter().cloned());
            let done = self.flush(lives.collect()).await;
            let mut outcomes = done.map(Vec::into_iter);
            for call in calls {
                let answer = match &mut outcomes {
                    Ok(outcomes) => Ok(outcomes.take(call.question.len()).collect()),
                    Err(error) => Err(again(error)),
                };
                call.answer(answer);
            }
        }
    }

    /// The calls of one window.
    async fn next(&mut self) -> Option<Vec<Asked>> {
        let first = self.waiting.recv().await?;
        let mut count = first.question.len();
        let mut calls = vec![first];
        let window = tokio::time::sleep(WINDOW);
        tokio::pin!(window);
        while count < MOST {
            tokio::select! {
                biased;
                call = self.waiting.recv() => {
                    let Some(call) = call else { break };
                    count += call.question.len();
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
                    self.session = kept.if_well();
                    return done;
                }
            }
        }
        let mut session = self.store.session().await?;
        if let Some(order) = self.store.dialect.beats_in_order() {
            session = session.set_up(order).await?;
        }
        let done = renew(&self.store, &mut session, &mut self.slots, lives).await?;
        self.session = Some(session);
        Ok(done)
    }
}
