//! Where callers hand in what they want, and wait.

use std::time::Duration;

use registry_api::kernel::{Command, Outcome};
use registry_api::{Beat, BeatOutcome, Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::fault::too_late;

/// What a caller wants.
#[derive(Debug)]
pub(crate) enum Ask {
    /// To know that everything is read that was written before.
    Barrier(Reply<()>),
    Beat(Vec<Beat>, Reply<Vec<BeatOutcome>>),
    Write(Command, Reply<Outcome>),
}

/// To whom the answer goes.
#[derive(Debug)]
pub(crate) struct Reply<T>(oneshot::Sender<Result<T>>);

impl<T> Reply<T> {
    pub(crate) fn send(self, answer: Result<T>) {
        let _ = self.0.send(answer); // Nobody may wait any more.
    }

    /// Whether nobody waits any more: what is asked is not to be done then.
    pub(crate) fn is_given_up(&self) -> bool {
        self.0.is_closed()
    }
}

impl Ask {
    pub(crate) fn is_given_up(&self) -> bool {
        match self {
            Self::Barrier(reply) => reply.is_given_up(),
            Self::Beat(_, reply) => reply.is_given_up(),
            Self::Write(_, reply) => reply.is_given_up(),
        }
    }

    pub(crate) fn refuse(self, error: Error) {
        match self {
            Self::Barrier(reply) => reply.send(Err(error)),
            Self::Beat(_, reply) => reply.send(Err(error)),
            Self::Write(_, reply) => reply.send(Err(error)),
        }
    }
}

/// The callers' side.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
    /// The longest a call may take.
    timeout: Duration,
}

/// Asks that may wait. Whoever comes after that is told so.
const WAITING: usize = 16_384;

impl Desk {
    pub(crate) fn new(timeout: Duration) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, waiting) = mpsc::channel(WAITING);
        (Self { asks, timeout }, waiting)
    }

    /// Returns when everything is read that was written before this was called.
    pub(crate) async fn barrier(&self) -> Result<()> {
        self.ask(Ask::Barrier).await
    }

    pub(crate) async fn beat(&self, beats: Vec<Beat>) -> Result<Vec<BeatOutcome>> {
        self.ask(|reply| Ask::Beat(beats, reply)).await
    }

    pub(crate) async fn write(&self, command: Command) -> Result<Outcome> {
        self.ask(|reply| Ask::Write(command, reply)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(ask(Reply(answer))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorKind::Overloaded, "too many requests wait for the broker")
            }
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        match timeout(self.timeout, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(too_late()),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the handle was closed")
}
