//! What is to be written to a stream: heartbeats and statuses before calls,
//! bounded, and as the body of an HTTP/2 message.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use tonic::Status;

use super::wire::ConnectionMessage;
use super::wire::connection_message::MessageType;
use crate::frames::append;

/// Where everybody who has something to say leaves it, encoded as it is to be
/// written.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Heartbeats, statuses, events: few and small.
    first: Lane,
    calls: Lane,
    /// How often something was taken: whether the peer reads.
    taken: u64,
    end: Option<Status>,
    waiting: Option<Waker>,
}

/// Messages that wait for their turn.
#[derive(Debug, Default)]
struct Lane {
    bytes: BytesMut,
    messages: usize,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nothing is written any more.
    Closed,
    /// The peer does not keep up.
    Full,
}

/// The most that waits for a peer, in messages and in bytes.
const MESSAGES: usize = 1000;
const BYTES: usize = 4 << 20;

impl Lane {
    fn push(&mut self, message: &ConnectionMessage) -> Result<(), Refused> {
        if self.messages >= MESSAGES || self.bytes.len() >= BYTES {
            return Err(Refused::Full);
        }
        append(message, &mut self.bytes);
        self.messages += 1;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.messages == 0
    }

    fn take(&mut self) -> Bytes {
        self.messages = 0;
        self.bytes.split().freeze()
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a call or the answer to one.
    pub(crate) fn push(&self, message: MessageType) -> Result<(), Refused> {
        self.leave(message, |inner| &mut inner.calls)
    }

    /// Leaves what goes before calls.
    pub(crate) fn push_first(&self, message: MessageType) -> Result<(), Refused> {
        self.leave(message, |inner| &mut inner.first)
    }

    fn leave(
        &self,
        message: MessageType,
        lane: impl FnOnce(&mut Inner) -> &mut Lane,
    ) -> Result<(), Refused> {
        let message = ConnectionMessage { message_type: Some(message) };
        let waiting = {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return Err(Refused::Closed);
            }
            lane(&mut inner).push(&message)?;
            inner.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
        Ok(())
    }

    /// Ends the stream with a status, after what waits.
    pub(crate) fn close(&self, status: Status) {
        let waiting = {
            let mut inner = self.lock();
            inner.end.get_or_insert(status);
            inner.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Gives up what waits, for a peer that does not read it.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        (inner.first, inner.calls) = (Lane::default(), Lane::default());
    }

    /// How often something was taken, and whether anything waits.
    pub(crate) fn progress(&self) -> (u64, bool) {
        let inner = self.lock();
        (inner.taken, !(inner.calls.is_empty() && inner.first.is_empty()))
    }
}

/// The other end of an outbox: a body, whose trailers say how it ended. What
/// `guard` holds goes with it.
pub(crate) struct OutboxBody<G> {
    outbox: Arc<Outbox>,
    /// It has waited once for others who have something to say too.
    yielded: bool,
    ended: bool,
    trailers: bool,
    _guard: G,
}

impl<G> OutboxBody<G> {
    /// The body of an answer.
    pub(crate) fn answer(outbox: Arc<Outbox>, guard: G) -> Self {
        Self { outbox, yielded: false, ended: false, trailers: true, _guard: guard }
    }

    /// The body of a question, which has no trailers.
    pub(crate) fn question(outbox: Arc<Outbox>, guard: G) -> Self {
        Self { trailers: false, ..Self::answer(outbox, guard) }
    }
}

impl<G: Unpin> Body for OutboxBody<G> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let outbox = Arc::clone(&self.outbox);
        let mut inner = outbox.lock();
        let empty = inner.first.is_empty() && inner.calls.is_empty();
        if empty {
            self.yielded = false;
            if let Some(end) = &inner.end {
                self.ended = true;
                let trailers = trailers(end);
                return Poll::Ready(self.trailers.then(|| Ok(Frame::trailers(trailers))));
            }
            match &mut inner.waiting {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        if !self.yielded {
            // The first of many wakes us: the others are a moment behind.
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(inner.take()))))
    }
}

impl Inner {
    /// What is written next: all that is first, else all that waits.
    fn take(&mut self) -> Bytes {
        self.taken += 1;
        match self.first.is_empty() {
            true => self.calls.take(),
            false => self.first.take(),
        }
    }
}

/// A status as trailers.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        headers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    headers
}
