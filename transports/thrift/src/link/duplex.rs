//! Reading and writing one connection at once, by one task.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;

use super::dial::Stream;
use super::outbox::Outbox;
use crate::wire::{Packet, Splitter, WireError};

/// A connection with its two buffers. Writing never waits for reading, nor the
/// other way round: two peers that both write first do not block each other.
pub(crate) struct Duplex<S> {
    stream: S,
    input: BytesMut,
    splitter: Splitter,
    output: BytesMut,
    /// How much to make room for: grows when reads fill it.
    chunk: usize,
}

/// What a turn brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes, maybe a message.
    Arrived,
    /// The peer will send nothing more.
    Ended,
    /// Everything that was to be written is.
    Written,
}

/// Read at a time at first.
const MIN_CHUNK: usize = 4 * 1024;
/// The most that is set aside for what may come.
const MAX_CHUNK: usize = 64 * 1024;

impl<S: Stream> Duplex<S> {
    pub(crate) fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            splitter: Splitter::new(limit),
            output: BytesMut::new(),
            chunk: MIN_CHUNK,
        }
    }

    /// The next message that is here as a whole.
    pub(crate) fn next(&mut self) -> io::Result<Option<Packet>> {
        self.splitter.next(&mut self.input).map_err(invalid)
    }

    /// Changes the largest message that is taken.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.splitter.set_limit(limit);
    }

    /// Whether bytes of a next message are here.
    pub(crate) fn has_more(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether something is still to be written.
    pub(crate) fn is_writing(&self) -> bool {
        !self.output.is_empty()
    }

    /// What is written next, before what waits in an outbox.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Writes and reads until something has happened.
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
                    outbox.take(&mut self.output);
                }
            }
        }
    }

    /// `None` once the outbox has something and all before it is written.
    fn poll(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<Option<Event>>> {
        let wrote = match self.poll_write(cx) {
            Poll::Ready(wrote) => wrote?,
            Poll::Pending => false,
        };
        if let Poll::Ready(read) = self.poll_read(cx) {
            let event = if read? == 0 { Event::Ended } else { Event::Arrived };
            return Poll::Ready(Ok(Some(event)));
        }
        if wrote {
            return Poll::Ready(Ok(Some(Event::Written)));
        }
        match self.output.is_empty() {
            true => outbox.poll_filled(cx).map(|()| Ok(None)),
            false => Poll::Pending,
        }
    }

    /// Ready with whether something was written, and everything is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let before = self.output.len();
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.output.clear(); // Its room is there again.
        Poll::Ready(Ok(before > 0))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let missing = self.splitter.announced().saturating_sub(self.input.len());
        self.input.reserve(missing.clamp(self.chunk, MAX_CHUNK));
        let room = self.input.capacity() - self.input.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        if read == room {
            self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        }
        Poll::Ready(Ok(read))
    }
}

pub(crate) fn invalid(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S> std::fmt::Debug for Duplex<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duplex").finish_non_exhaustive()
    }
}
