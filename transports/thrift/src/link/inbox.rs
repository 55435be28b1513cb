//! What was read of a connection and is not yet a message.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::{Packet, Splitter, WireError};

/// A buffer that grows with what arrives.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: BytesMut,
    splitter: Splitter,
    /// How much to make room for: grows when reads fill it.
    chunk: usize,
}

/// Read at a time at first.
const MIN_CHUNK: usize = 4 * 1024;
/// Read at a time at most.
const MAX_CHUNK: usize = 64 * 1024;
/// The most that is set aside for what was only announced.
const TRUSTED: usize = 16 * 1024;

impl Inbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), splitter: Splitter::new(limit), chunk: MIN_CHUNK }
    }

    /// Changes the largest message that is taken.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.splitter.set_limit(limit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message that is here as a whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Packet>> {
        self.splitter.next(&mut self.buffer).map_err(invalid)
    }

    /// Reads what there is; ready with how much, 0 at the end.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut impl AsyncRead>,
    ) -> Poll<io::Result<usize>> {
        let missing = self.splitter.announced().saturating_sub(self.buffer.len());
        self.buffer.reserve(missing.clamp(self.chunk, self.chunk.max(TRUSTED)));
        let room = self.buffer.capacity() - self.buffer.len();
        let read = ready!(pin!(stream.read_buf(&mut self.buffer)).poll(cx))?;
        if read == room {
            self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        }
        Poll::Ready(Ok(read))
    }
}

pub(super) fn invalid(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
