//! What is being written to a connection: what gathered, and one body that is
//! too large to be copied for it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::wire::{Framing, Header, Message, WireError, append, append_head};

/// Bytes, and a body that comes after them.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: BytesMut,
    body: Bytes,
}

/// A body from this size on is written from where it is.
const LARGE: usize = 4 * 1024;

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.body.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.body.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.body.clear();
    }

    /// Where others' messages are put, while nothing of ours is left.
    pub(super) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Adds a message whose body is `body`.
    pub(crate) fn push(
        &mut self,
        framing: Framing,
        header: &Header,
        message: &Message<'_>,
        body: &Bytes,
        limit: usize,
    ) -> Result<(), WireError> {
        if !self.body.is_empty() {
            self.bytes.extend_from_slice(&self.body);
            self.body.clear();
        }
        if body.len() < LARGE {
            return append(framing, header, message, limit, &mut self.bytes);
        }
        append_head(framing, header, message, limit, &mut self.bytes)?;
        self.body = body.clone();
        Ok(())
    }

    /// Ready once everything is written, with whether there was anything.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<bool>> {
        let anything = !self.is_empty();
        while !self.is_empty() {
            let written = match self.body.is_empty() {
                true => ready!(stream.as_mut().poll_write(cx, &self.bytes))?,
                false => {
                    let parts = [IoSlice::new(&self.bytes), IoSlice::new(&self.body)];
                    ready!(stream.as_mut().poll_write_vectored(cx, &parts))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_bytes = written.min(self.bytes.len());
            self.bytes.advance(of_bytes);
            self.body.advance(written - of_bytes);
        }
        if anything {
            ready!(stream.poll_flush(cx))?;
            self.clear(); // The room of the buffer is there again.
        }
        Poll::Ready(Ok(anything))
    }
}
