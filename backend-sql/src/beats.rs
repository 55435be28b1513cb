//! Beats: those of a few milliseconds are one statement.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use registry_api::kernel::Judgement;
use registry_api::{Beat, BeatOutcome, Epoch, Error, ErrorKind, InstanceId, Result};
use tokio::sync::{mpsc, oneshot};

use crate::lane::{Lane, closed};
use crate::record;
use crate::session::Session;
use crate::statement::Value;
use crate::statements::JUDGE;
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
        let lane = Lane::spawn(Flusher { store, waiting, session: None }.run());
        Self { calls, _lane: lane }
    }

    /// Renews leases: one outcome per beat, in order.
    pub(crate) async fn beat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let lives = beats.iter().map(|beat| (beat.id.clone(), beat.epoch)).collect();
        let (answer, answered) = oneshot::channel();
        let sent = self.calls.try_send(Call { lives, answer });
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
}

impl Flusher {
    async fn run(mut self) {
        while let Some(calls) = self.next().await {
            let mut outcomes = BTreeMap::new();
            for (id, epoch) in calls.iter().flat_map(|call| &call.lives) {
                outcomes.insert((id.clone(), *epoch), BeatOutcome::Unknown);
            }
            let done = self.flush(&mut outcomes).await;
            for call in calls {
                let answer = match &done {
                    Ok(()) => Ok(call.lives.iter().map(|life| outcomes[life]).collect()),
                    Err(error) => Err(again(error)),
                };
                let _ = call.answer.send(answer); // Nobody may wait any more.
            }
        }
    }

    /// The calls of one window.
    async fn next(&mut self) -> Option<Vec<Call>> {
        let first = self.waiting.recv().await?;
        let mut count = first.lives.len();
        let mut calls = vec![first];
        let window = tokio::time::sleep(WINDOW);
        tokio::pin!(window);
        while count < MOST {
            tokio::select! {
                biased;
                call = self.waiting.recv() => {
                    let Some(call) = call else { break };
                    count += call.lives.len();
                    calls.push(call);
                }
                () = &mut window => break,
            }
        }
        Some(calls)
    }

    async fn flush(&mut self, outcomes: &mut BTreeMap<Life, BeatOutcome>) -> Result<()> {
        let lives: Vec<Life> = outcomes.keys().cloned().collect();
        let mut revived = false;
        for lives in lives.chunks(MOST) {
            for (life, outcome) in lives.iter().zip(self.renew(lives).await?) {
                revived |= outcome == BeatOutcome::Revived;
                outcomes.insert(life.clone(), outcome);
            }
        }
        if revived {
            self.store.revived.notify_one();
        }
        Ok(())
    }
}

impl Flusher {
    /// Renews on the connection that is kept. It may have died since it was used
    /// last; beating twice is beating once, so another one is tried then.
    async fn renew(&mut self, lives: &[Life]) -> Result<Vec<BeatOutcome>> {
        if let Some(mut kept) = self.session.take() {
            match renew(&self.store, &mut kept, lives).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                done => {
                    self.session = Some(kept);
                    return done;
                }
            }
        }
        let mut session = self.store.session().await?;
        let done = renew(&self.store, &mut session, lives).await?;
        self.session = Some(session);
        Ok(done)
    }
}

/// One statement, if all of them are online; else a second one says who is not.
async fn renew(store: &Store, session: &mut Session, lives: &[Life]) -> Result<Vec<BeatOutcome>> {
    if write(store, session, lives, Online).await? == lives.len() as u64 {
        return Ok(vec![BeatOutcome::Renewed; lives.len()]);
    }
    // Somebody may come or go between two statements: look once more then.
    for _ in 0..5 {
        let Some(judged) = judge(store, session, lives).await? else {
            continue; // The clock jumped, so nobody of them is gone.
        };
        let outcomes: Vec<_> = lives.iter().map(|life| answer(&judged, life)).collect();
        let late = |(_, outcome): &(&Life, &BeatOutcome)| **outcome == BeatOutcome::Revived;
        let late: Vec<Life> =
            lives.iter().zip(&outcomes).filter(late).map(|(l, _)| l.clone()).collect();
        if late.is_empty() || write(store, session, &late, Listed).await? == late.len() as u64 {
            return Ok(outcomes);
        }
    }
    Err(Error::new(ErrorKind::Overloaded, "the leases change faster than they can be read"))
}

/// Renews those that are at least this well, and counts them.
async fn write(store: &Store, session: &mut Session, lives: &[Life], least: Least) -> Result<u64> {
    let ids = lives.iter().map(|(id, _)| id.to_string()).collect();
    let epochs = lives.iter().map(|(_, epoch)| record::epoch(*epoch)).collect();
    let values = [store.ns.into(), Value::Pairs(ids, epochs), (least as i64).into()];
    let _turn = store.turn().await;
    let text = store.dialect.beat();
    let mut tries = crate::retry::Tries::new();
    loop {
        match session.run(text, &values).await {
            Ok(count) => return Ok(count),
            Err(failed) => tries.again(failed).await?,
        }
    }
}

/// What the database's clock says of the lives with these ids; `None` if it
/// cannot be believed.
async fn judge(store: &Store, session: &mut Session, lives: &[Life]) -> Result<Option<Judged>> {
    let ids = Value::texts(lives.iter().map(|(id, _)| id));
    let asked = store.clock.now();
    let rows = session.rows(JUDGE, &[store.ns.into(), ids]).await?;
    let mut judged = Judged::new();
    for row in &rows {
        let (Some(now), Some(term)) = (row.int(3), row.int(4)) else { continue };
        if judged.is_empty() && !store.believes(asked, now, term).await? {
            return Ok(None);
        }
        if let (Some(id), Some(epoch), Some(state)) = (row.text(0), row.int(1), row.int(2)) {
            judged.insert(id.to_owned(), (Epoch(epoch as u64), record::judgement(state)));
        }
    }
    Ok(Some(judged))
}

/// How well a lease must be to be renewed, as the statement counts it.
#[derive(Clone, Copy)]
enum Least {
    Online = 0,
    Listed = 1,
}
use Least::{Listed, Online};

/// By id: which life holds the lease, and how it is.
type Judged = HashMap<String, (Epoch, Judgement)>;

fn answer(judged: &Judged, (id, asked): &Life) -> BeatOutcome {
    let judgement = match judged.get(id.as_str()) {
        None => Judgement::Gone,
        Some((_, Judgement::Gone)) => Judgement::Gone,
        Some((live, judgement)) if live == asked => *judgement,
        Some((live, _)) => Judgement::OtherEpoch(*live),
    };
    judgement.answer(*asked)
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
