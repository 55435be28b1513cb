//! A connection that carries many calls at a time, told apart by sequence id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_api::call::{CallError, Reply};
use registry_api::{Address, ErrorKind};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::dial::{Dial, Stream};
use super::outbox::Refused;
use super::{Duplex, Event, Outbox, Question, failed, lost, overloaded};
use crate::wire::{Header, append};
use crate::{answer, cancel};

/// The connection to one peer, made when it is first needed and made anew after
/// it broke.
#[derive(Debug, Default)]
pub(super) struct Mux {
    link: Mutex<Option<Arc<Link>>>,
    /// One caller dials, the others wait for it.
    dialling: tokio::sync::Mutex<()>,
}

/// One connection, and the task that serves it.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    outbox: Outbox,
    calls: Mutex<Calls>,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
struct Calls {
    last: i32,
    waiting: HashMap<i32, oneshot::Sender<Answer>>,
    /// Nobody can wait any more.
    ended: bool,
}

/// The connection had ended before the question was on it.
struct Unsent;

type Answer = Result<Reply, CallError>;

/// A peer that answers so often what was never asked is not to be trusted.
const MAX_STRAYS: u32 = 10;
/// How often an idle connection is looked at; the second time it is closed.
const LOOK: Duration = Duration::from_secs(15);

impl Mux {
    pub(super) async fn call(
        &self,
        dial: &dyn Dial,
        address: &Address,
        question: &Question<'_>,
    ) -> Answer {
        // One that ended before the question was on it: the next can have it.
        if let Some(link) = self.open()
            && let Ok(answer) = link.shared.call(question).await
        {
            return answer;
        }
        let link = self.dial(dial, address, question.limit).await?;
        let ended = || Err(failed(ErrorKind::Unavailable, "the connection has ended"));
        link.shared.call(question).await.unwrap_or_else(|Unsent| ended())
    }

    fn open(&self) -> Option<Arc<Link>> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.clone().filter(|link| !link.shared.has_ended())
    }

    async fn dial(
        &self,
        dial: &dyn Dial,
        address: &Address,
        limit: usize,
    ) -> Result<Arc<Link>, CallError> {
        let _one = self.dialling.lock().await;
        if let Some(link) = self.open() {
            return Ok(link);
        }
        let link = Arc::new(Link::start(dial.dial(address).await?, limit));
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok(link)
    }

    /// False once there is no connection.
    pub(super) fn look(&self) -> bool {
        self.open().is_some()
    }
}

impl Link {
    fn start(stream: Box<dyn Stream>, limit: usize) -> Self {
        let (outbox, calls) = (Outbox::new(limit), Mutex::default());
        let shared = Arc::new(Shared { outbox, calls });
        let task = tokio::spawn(Arc::clone(&shared).run(Duplex::new(stream, limit)));
        Self { shared, task }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.end(&failed(ErrorKind::Closed, "the caller was closed"));
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.calls().ended
    }

    async fn call(&self, question: &Question<'_>) -> Result<Answer, Unsent> {
        let (sender, answer) = oneshot::channel();
        let sequence = self.calls().enter(sender)?;
        let mut waiting = Waiting { shared: self, question, sequence, over: false };
        let sent = self.outbox.push(|out| question.append(sequence, out));
        if let Err(refused) = sent {
            waiting.over = true;
            self.calls().waiting.remove(&sequence);
            return match refused {
                Refused::Closed => Err(Unsent),
                Refused::Full => Ok(Err(overloaded())),
                Refused::Message(error) => Ok(Err(answer::unwritable(&error))),
            };
        }
        if question.call.oneway {
            waiting.over = true;
            self.calls().waiting.remove(&sequence);
            return Ok(Ok(Reply::default()));
        }
        let answer = answer.await;
        waiting.over = true;
        let ended = || Err(failed(ErrorKind::Unavailable, "the connection has ended"));
        Ok(answer.unwrap_or_else(|_| ended()))
    }

    async fn run(self: Arc<Self>, link: Duplex<Box<dyn Stream>>) {
        let error = match self.serve(link).await {
            Ok(()) => failed(ErrorKind::Unavailable, "the instance closed the connection"),
            Err(error) => lost(&error),
        };
        self.end(&error);
    }

    /// Writes questions and hands out answers until the peer ends, or nobody
    /// needs it.
    async fn serve(&self, mut link: Duplex<Box<dyn Stream>>) -> std::io::Result<()> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut idle, mut strays) = (0, 0);
        loop {
            tokio::select! {
                biased;
                event = link.turn(&self.outbox) => match event? {
                    Event::Ended => return Ok(()),
                    Event::Arrived | Event::Nudged | Event::Written => idle = 0,
                },
                _ = looks.tick() => {
                    idle = if link.has_written() { 0 } else { idle + 1 };
                    if idle > 2 && self.outbox.is_empty() && self.calls().end_if_idle() {
                        return Ok(());
                    }
                }
            }
            while let Some(packet) = link.next()? {
                let read = answer::read(&packet);
                let (sequence, answer) = read
                    .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
                let (asked, last) = self.calls().leave(sequence);
                match asked {
                    Some(asked) => drop(asked.send(answer)), // Gone in this moment.
                    None if sequence <= last => {}           // Given up meanwhile.
                    None => strays += 1,
                }
                if strays > MAX_STRAYS {
                    let reason = "the instance answers what nobody asked";
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
                }
            }
        }
    }

    /// Fails everybody who waits, and everybody who comes.
    fn end(&self, error: &CallError) {
        self.outbox.close();
        let waiting = {
            let mut calls = self.calls();
            calls.ended = true;
            std::mem::take(&mut calls.waiting)
        };
        for asked in waiting.into_values() {
            let _ = asked.send(Err(error.clone()));
        }
    }
}

impl Calls {
    fn enter(&mut self, sender: oneshot::Sender<Answer>) -> Result<i32, Unsent> {
        if self.ended {
            return Err(Unsent);
        }
        self.last = self.last.wrapping_add(1);
        self.waiting.insert(self.last, sender);
        Ok(self.last)
    }

    /// Who waits for this answer, and the last id that was given out.
    fn leave(&mut self, sequence: i32) -> (Option<oneshot::Sender<Answer>>, i32) {
        (self.waiting.remove(&sequence), self.last)
    }

    /// Ends it, unless somebody waits.
    fn end_if_idle(&mut self) -> bool {
        self.ended = self.waiting.is_empty();
        self.ended
    }
}

/// A caller who waits. One who gives up tells the peer, if it understands that.
struct Waiting<'a> {
    shared: &'a Shared,
    question: &'a Question<'a>,
    sequence: i32,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.shared.calls().waiting.remove(&self.sequence);
        if self.question.manner.cancel {
            let body = cancel::body(self.sequence);
            let message = cancel::message(&body);
            let framing = self.question.manner.framing;
            // Nobody waits for it: a connection that cannot take it is ending.
            let _ = self
                .shared
                .outbox
                .push(|out| append(framing, &Header::default(), &message, 128, out));
        }
    }
}

impl std::fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiting({})", self.sequence)
    }
}
