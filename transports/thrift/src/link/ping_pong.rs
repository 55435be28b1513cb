//! A connection that carries one call at a time: what every peer understands.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use registry_api::call::{CallError, CallErrorKind, Reply};
use tokio::io::AsyncReadExt;

use super::dial::Stream;
use super::inbox::Inbox;
use super::output::Output;
use super::{Question, lost};
use crate::answer;
use crate::wire::Packet;

/// One connection between calls.
pub(super) struct PingPong {
    stream: Box<dyn Stream>,
    inbox: Inbox,
    output: Output,
    sequence: i32,
    /// A call is on it that has no whole answer.
    engaged: bool,
}

impl PingPong {
    pub(super) fn new(stream: Box<dyn Stream>, limit: usize) -> Self {
        let (inbox, output) = (Inbox::new(limit), Output::default());
        Self { stream, inbox, output, sequence: 0, engaged: false }
    }

    /// One question and its answer.
    pub(super) async fn exchange(&mut self, question: &Question<'_>) -> Result<Reply, CallError> {
        self.sequence = self.sequence.wrapping_add(1);
        let asked = question.push(self.sequence, &mut self.output);
        asked.map_err(|error| answer::unwritable(&error))?;
        self.engaged = true;
        let written = poll_fn(|cx| self.output.poll_write(cx, Pin::new(&mut self.stream))).await;
        // Half a message is none: what was not written whole was not run.
        written.map_err(|error| lost(&error).not_run())?;
        if question.call.oneway {
            self.engaged = false;
            return Ok(Reply::default());
        }
        let packet = self.read().await.map_err(|error| lost(&error))?;
        let (sequence, reply) = answer::read(&packet)?;
        if sequence != self.sequence {
            let reason = "the answer belongs to another call";
            return Err(CallError::new(CallErrorKind::Framework, reason));
        }
        self.engaged = false;
        reply
    }

    async fn read(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(packet) = self.inbox.next()? {
                return Ok(packet);
            }
            let read = poll_fn(|cx| self.inbox.poll_fill(cx, Pin::new(&mut self.stream)));
            if read.await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
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
        if !self.inbox.is_empty() {
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
