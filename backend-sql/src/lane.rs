//! A task that belongs to somebody, and how it is asked.

use registry_api::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Ends its task when it is dropped.
#[derive(Debug)]
pub(crate) struct Lane(JoinHandle<()>);

impl Lane {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A question that waits for its answer.
pub(crate) struct Call<Q, A> {
    pub(crate) question: Q,
    answer: oneshot::Sender<Result<A>>,
}

impl<Q, A> Call<Q, A> {
    pub(crate) fn answer(self, answer: Result<A>) {
        let _ = self.answer.send(answer); // Nobody may wait any more.
    }
}

/// Asks a task. `crowded` is the answer where too many wait already.
pub(crate) async fn ask<Q, A>(
    calls: &mpsc::Sender<Call<Q, A>>,
    question: Q,
    crowded: &'static str,
) -> Result<A> {
    let closed = || Error::new(ErrorKind::Closed, "the handle was closed");
    let (answer, answered) = oneshot::channel();
    let sent = calls.try_send(Call { question, answer });
    sent.map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Error::new(ErrorKind::Overloaded, crowded),
        mpsc::error::TrySendError::Closed(_) => closed(),
    })?;
    answered.await.unwrap_or_else(|_| Err(closed()))
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
