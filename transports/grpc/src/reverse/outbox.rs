//! What is to be written to a stream: heartbeats and statuses before calls,
//! bounded, and as the body of an HTTP/2 message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use prost::Message;
use tonic::Status;

use super::wire::ConnectionMessage;
use super::wire::connection_message::MessageType;
use crate::frames::append;

/// Where everybody who has something to say leaves it.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Heartbeats, statuses, events: few and small.
    first: VecDeque<ConnectionMessage>,
    calls: VecDeque<ConnectionMessage>,
    /// How many bytes the calls have.
    bytes: usize,
    /// How often something was taken: whether the peer reads.
    taken: u64,
    end: Option<Status>,
    waiting: Option<Waker>,
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
/// Small messages are written together, up to so much.
const TOGETHER: usize = 32 * 1024;

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a call or the answer to one.
    pub(crate) fn push(&self, message: MessageType) -> Result<(), Refused> {
        let message = ConnectionMessage { message_type: Some(message) };
        let length = message.encoded_len();
        self.leave(|inner| {
            if inner.calls.len() >= MESSAGES || (inner.bytes > 0 && inner.bytes + length > BYTES) {
                return Err(Refused::Full);
            }
            inner.bytes += length;
            inner.calls.push_back(message);
            Ok(())
        })
    }

    /// Leaves what goes before calls.
    pub(crate) fn push_first(&self, message: MessageType) -> Result<(), Refused> {
        let message = ConnectionMessage { message_type: Some(message) };
        self.leave(|inner| {
            if inner.first.len() >= MESSAGES {
                return Err(Refused::Full);
            }
            inner.first.push_back(message);
            Ok(())
        })
    }

    fn leave(&self, leave: impl FnOnce(&mut Inner) -> Result<(), Refused>) -> Result<(), Refused> {
        let waiting = {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return Err(Refused::Closed);
            }
            leave(&mut inner)?;
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
        inner.calls = VecDeque::new();
        inner.first = VecDeque::new();
        inner.bytes = 0;
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
    /// What goes into one write.
    fn take(&mut self) -> Bytes {
        self.taken += 1;
        let mut out = BytesMut::new();
        for message in self.first.drain(..) {
            append(&message, &mut out);
        }
        while out.len() < TOGETHER
            && let Some(message) = self.calls.pop_front()
        {
            let before = out.len();
            append(&message, &mut out);
            self.bytes = self.bytes.saturating_sub(out.len() - before - 5);
        }
        if self.calls.is_empty() {
            self.bytes = 0;
        }
        out.freeze()
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
