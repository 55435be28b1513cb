//! Reading and writing one connection at once, by one task.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::dial::Stream;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::output::Output;
use crate::wire::Packet;

/// A connection with its two buffers. Writing never waits for reading, nor the
/// other way round: two peers that both write first do not block each other.
pub(crate) struct Duplex<S> {
    stream: S,
    inbox: Inbox,
    output: Output,
    /// Whether anything was written since somebody asked.
    wrote: bool,
    /// Whether a turn ends when everything is written.
    reports_writes: bool,
}

/// What a turn brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes, maybe a message.
    Arrived,
    /// The peer will send nothing more.
    Ended,
    /// Nothing: somebody wants the connection to be looked at.
    Nudged,
    /// Everything that was to be written is; told where it was asked for.
    Written,
}

impl<S: Stream> Duplex<S> {
    pub(crate) fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            inbox: Inbox::new(limit),
            output: Output::default(),
            wrote: false,
            reports_writes: false,
        }
    }

    /// The next message that is here as a whole.
    pub(crate) fn next(&mut self) -> io::Result<Option<Packet>> {
        self.inbox.next()
    }

    /// Changes the largest message that is taken.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.inbox.set_limit(limit);
    }

    /// Whether bytes of a next message are here.
    pub(crate) fn has_more(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether something is still to be written.
    pub(crate) fn is_writing(&self) -> bool {
        !self.output.is_empty()
    }

    /// Lets turns end when everything is written.
    pub(crate) fn report_writes(&mut self) {
        self.reports_writes = true;
    }

    /// Whether writing got on since this was last asked.
    pub(crate) fn has_written(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// What is written next, before what waits in an outbox.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Writes and reads until something has come.
    ///
    /// Safe to cancel. What appears in `outbox` is written too, after one yield:
    /// others who are about to say something get to, and all of it is one write.
    pub(crate) async fn turn(&mut self, outbox: &Outbox) -> io::Result<Event> {
        loop {
            let filled = poll_fn(|cx| self.poll(cx, outbox)).await?;
            match filled {
                Some(event) => return Ok(event),
                None => {
                    tokio::task::yield_now().await;
                    outbox.take(self.output.bytes());
                    if self.output.is_empty() {
                        return Ok(Event::Nudged);
                    }
                }
            }
        }
    }

    /// `None` once the outbox has something and all before it is written.
    fn poll(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<Option<Event>>> {
        let before = self.output.len();
        let wrote = self.output.poll_write(cx, Pin::new(&mut self.stream));
        self.wrote |= self.output.len() < before;
        if let Poll::Ready(wrote) = wrote
            && wrote?
            && self.reports_writes
        {
            return Poll::Ready(Ok(Some(Event::Written)));
        }
        if let Poll::Ready(read) = self.inbox.poll_fill(cx, Pin::new(&mut self.stream)) {
            let event = if read? == 0 { Event::Ended } else { Event::Arrived };
            return Poll::Ready(Ok(Some(event)));
        }
        match self.output.is_empty() {
            true => outbox.poll_filled(cx).map(|()| Ok(None)),
            false => Poll::Pending,
        }
    }
}

impl<S> std::fmt::Debug for Duplex<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duplex").finish_non_exhaustive()
    }
}
