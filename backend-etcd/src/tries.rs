//! Transactions that compare what they read: tried again while somebody else was
//! quicker.

use std::time::Duration;

use registry_api::kernel::Backoff;
use registry_api::{Error, ErrorKind, Result};

/// How often a write is tried that others got in the way of.
const TRIES: usize = 16;

/// What became of a transaction.
pub(crate) enum Attempt<T> {
    Done(T),
    /// Somebody else wrote meanwhile, or a lease ended.
    Again,
    /// More operations than etcd takes.
    TooMuch,
}

impl<T> Attempt<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(done) => Attempt::Done(change(done)),
            Self::Again => Attempt::Again,
            Self::TooMuch => Attempt::TooMuch,
        }
    }
}

/// Tries until nobody gets in the way; `None` where it is too much at once.
pub(crate) async fn insist<T, E, F>(attempt: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Attempt<T>, E>>,
    Error: From<E>,
{
    let (first, most) = (Duration::from_millis(2), Duration::from_millis(100));
    let mut backoff = Backoff::new(first, most, fastrand::u64(..));
    for _ in 0..TRIES {
        match attempt().await? {
            Attempt::Done(done) => return Ok(Some(done)),
            Attempt::TooMuch => return Ok(None),
            Attempt::Again => tokio::time::sleep(backoff.next_delay()).await,
        }
    }
    Err(in_the_way())
}

/// The answer where others were quicker again and again.
pub(crate) fn in_the_way() -> Error {
    Error::new(ErrorKind::Overloaded, "other writers were in the way, several times")
}
