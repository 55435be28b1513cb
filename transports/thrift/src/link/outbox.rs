//! What waits to be written to one connection, by whoever has something to say.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use crate::wire::WireError;

/// Messages are encoded straight into one buffer; the connection's task takes
/// it as a whole. Bounded: a peer that does not read is not written for.
#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    room: usize,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: BytesMut,
    /// Of the task that waits for something to write.
    waiting: Option<Waker>,
    /// Whether the task is to look up although there is nothing to write.
    nudged: bool,
    closed: bool,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The connection has ended.
    Closed,
    /// The peer does not keep up.
    Full,
    /// It cannot be written at all.
    Message(WireError),
}

/// How much may wait for a peer that takes messages up to `limit`: one of them
/// must not keep the next from being said.
pub(crate) const fn room(limit: usize) -> usize {
    let several = 4 << 20;
    if limit * 2 > several { limit * 2 } else { several }
}

/// A buffer that a burst made larger than this is given back.
const KEPT: usize = 1 << 20;

impl Outbox {
    /// For a connection whose messages have at most so many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), room: room(limit) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `write` append a message.
    pub(crate) fn push(
        &self,
        write: impl FnOnce(&mut BytesMut) -> Result<(), WireError>,
    ) -> Result<(), Refused> {
        let waiting = {
            let mut inner = self.lock();
            if inner.closed {
                return Err(Refused::Closed);
            }
            if inner.bytes.len() > self.room {
                return Err(Refused::Full);
            }
            write(&mut inner.bytes).map_err(Refused::Message)?;
            inner.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
        Ok(())
    }

    /// Wakes the connection although there is nothing to write.
    pub(crate) fn nudge(&self) {
        let waiting = {
            let mut inner = self.lock();
            inner.nudged = true;
            inner.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Ready once something waits, or somebody has nudged.
    pub(crate) fn poll_filled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if !inner.bytes.is_empty() || std::mem::take(&mut inner.nudged) {
            return Poll::Ready(());
        }
        match &mut inner.waiting {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Moves what waits into an empty buffer, whose room is used for what comes.
    pub(crate) fn take(&self, into: &mut BytesMut) {
        if into.capacity() > KEPT {
            *into = BytesMut::new();
        }
        mem::swap(&mut self.lock().bytes, into);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().bytes.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Refuses what comes from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.nudge();
    }
}
