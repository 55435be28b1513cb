//! A connection that carries one call at a time: what every peer understands.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use registry_api::call::{CallError, CallErrorKind, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::Stream;
use super::duplex::invalid;
use super::{Question, lost};
use crate::answer;
use crate::wire::Splitter;

/// One connection between calls.
pub(super) struct PingPong {
    stream: Box<dyn Stream>,
    input: BytesMut,
    output: BytesMut,
    sequence: i32,
    /// A call is on it that has no whole answer.
    engaged: bool,
}

const CHUNK: usize = 4 * 1024;

impl PingPong {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            sequence: 0,
            engaged: false,
        }
    }

    /// One question and its answer.
    pub(super) async fn exchange(&mut self, question: &Question<'_>) -> Result<Reply, CallError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.output.clear();
        let asked = question.append(self.sequence, &mut self.output);
        asked.map_err(|error| answer::unwritable(&error))?;
        self.engaged = true;
        self.stream.write_all(&self.output).await.map_err(|error| lost(&error))?;
        self.stream.flush().await.map_err(|error| lost(&error))?;
        if question.call.oneway {
            self.engaged = false;
            return Ok(Reply::default());
        }
        let mut splitter = Splitter::new(question.limit);
        loop {
            let next = splitter.next(&mut self.input).map_err(invalid);
            if let Some(packet) = next.map_err(|error| lost(&error))? {
                let (sequence, reply) = answer::read(&packet)?;
                if sequence != self.sequence {
                    let reason = "the answer belongs to another call";
                    return Err(CallError::new(CallErrorKind::Framework, reason));
                }
                self.engaged = false;
                return reply;
            }
            let missing = splitter.announced().saturating_sub(self.input.len());
            self.input.reserve(missing.clamp(CHUNK, 16 * CHUNK));
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(|error| lost(&error))? == 0 {
                return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Whether a call is on it that has no whole answer: it broke, or the caller
    /// gave up.
    pub(super) fn is_engaged(&self) -> bool {
        self.engaged
    }

    /// Whether it can carry another call: nothing is left over, and the peer has
    /// neither closed it nor said anything unasked.
    pub(super) fn is_sound(&mut self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let read = pin!(self.stream.read(&mut byte)).poll(&mut cx);
        matches!(read, Poll::Pending)
    }
}

impl std::fmt::Debug for PingPong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PingPong").finish_non_exhaustive()
    }
}
