//! One connection of a host: takes questions, runs them, writes answers.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use registry_api::ErrorKind;
use registry_api::call::{Call, CallError, CallErrorKind, Reply};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Server;
use super::asked::Asked;
use super::running::Running;
use crate::cancel;
use crate::link::{Duplex, Event, Outbox, Stream, room};
use crate::wire::{Message, MessageType, Packet, append};

pub(super) struct Connection {
    server: Arc<Server>,
    link: Duplex<Box<dyn Stream>>,
    /// Where calls that take their time leave their answers.
    outbox: Arc<Outbox>,
    running: Running,
    quiet: Quiet,
    /// A call has succeeded: whoever asks is somebody.
    proven: Arc<AtomicBool>,
}

/// How many ticks ago something moved.
#[derive(Default)]
struct Quiet {
    /// Bytes came.
    read: u32,
    /// What is being written got on, or a message that began was completed.
    half: u32,
}

/// A call at work, with the place it takes.
type Answering = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

/// Ticks in the time that a peer may be stuck: it is closed in the last quarter.
const TICKS: u32 = 4;

impl Connection {
    pub(super) fn new(server: Arc<Server>, stream: Box<dyn Stream>) -> Self {
        let outbox = Arc::new(Outbox::new(server.options.max_message));
        Self {
            link: Duplex::new(stream, server.options.max_unproven),
            server,
            proven: Arc::default(),
            running: Running::new(Arc::clone(&outbox)),
            outbox,
            quiet: Quiet::default(),
        }
    }

    pub(super) async fn run(mut self) {
        // A peer that breaks the protocol or goes away is its own problem.
        if let Err(error) = self.converse().await {
            tracing::debug!(%error, "thrift connection ended");
        }
    }

    async fn converse(&mut self) -> io::Result<()> {
        let mut closing = self.server.closing.clone();
        let mut closing = pin!(closing.wait_for(|closing| *closing));
        let mut draining = false;
        let mut ticks = interval(self.tick_length());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.proven.load(Ordering::Relaxed) {
                self.link.set_limit(self.server.options.max_message);
            }
            while let Some(packet) = self.link.next()? {
                self.quiet.half = 0;
                self.take(&packet).await?;
            }
            if self.outbox.is_closed() {
                return Err(unread());
            }
            if draining && self.is_settled() {
                return Ok(());
            }
            tokio::select! {
                biased;
                event = self.link.turn(&self.outbox) => match event? {
                    Event::Arrived => self.quiet.read = 0,
                    Event::Nudged | Event::Written => {}
                    Event::Ended => return Ok(()),
                },
                _ = ticks.tick() => self.tick()?,
                _ = &mut closing, if !draining => {
                    draining = true;
                    self.running.drain();
                    self.link.report_writes();
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.running.len() == 0 && self.outbox.is_empty() && !self.link.is_writing()
    }

    fn tick_length(&self) -> Duration {
        (self.server.options.stuck / TICKS).max(Duration::from_millis(1))
    }

    /// Closes what has been quiet for too long.
    fn tick(&mut self) -> io::Result<()> {
        if self.link.has_written() {
            self.quiet.half = 0;
        }
        self.quiet.read += 1;
        self.quiet.half += u32::from(self.link.has_more() || self.link.is_writing());
        let idle = self.tick_length() * self.quiet.read > self.server.options.idle;
        if self.quiet.half >= TICKS || (idle && self.is_settled()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Answers one question, now or later.
    async fn take(&mut self, packet: &Packet) -> io::Result<()> {
        let message = Message::parse(&packet.message).map_err(io::Error::other)?;
        if message.kind == MessageType::Oneway && message.method == cancel::METHOD {
            let sequence = cancel::read(message.body).map_err(io::Error::other)?;
            self.running.cancel(sequence);
            return Ok(());
        }
        let asked = Asked::new(packet, &message, self.server.options.max_message);
        let mut answering = match self.begin(packet, &message) {
            Ok(answering) => answering,
            Err(refused) => return self.say(&asked, Err(refused)),
        };
        // A call that came alone and needs not wait is answered on the spot.
        if !self.link.has_more()
            && let Poll::Ready(outcome) =
                poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await
        {
            note(&self.proven, &outcome);
            return self.say(&asked, outcome);
        }
        let limit = packet.header.timeout.unwrap_or(self.server.options.timeout);
        let (outbox, proven) = (Arc::clone(&self.outbox), Arc::clone(&self.proven));
        self.running.start(asked.sequence(), async move {
            let outcome = timeout(limit, answering).await.unwrap_or_else(|_| {
                let reason = "the deadline passed while the call was running";
                Err(CallError::new(ErrorKind::Timeout.into(), reason))
            });
            note(&proven, &outcome);
            let pushed = outbox.push(|out| {
                asked.answer(outcome, |framing, header, message, _, limit| {
                    append(framing, header, message, limit, out)
                })
            });
            if pushed.is_err() {
                outbox.close(); // An answer is lost: its caller must learn that.
            }
        });
        Ok(())
    }

    fn say(&mut self, asked: &Asked, outcome: Result<Reply, CallError>) -> io::Result<()> {
        let output = self.link.output();
        if output.len() > room(self.server.options.max_message) {
            return Err(unread());
        }
        let said = asked.answer(outcome, |framing, header, message, body, limit| {
            output.push(framing, header, message, body, limit)
        });
        said.map_err(io::Error::other)
    }

    /// The call, not yet polled; or why it is refused.
    fn begin(&self, packet: &Packet, message: &Message<'_>) -> Result<Answering, CallError> {
        if !matches!(message.kind, MessageType::Call | MessageType::Oneway) {
            return Err(CallError::new(CallErrorKind::Framework, "a call was expected"));
        }
        let server = &self.server;
        let meant = packet.header.service.as_deref();
        if meant.is_some_and(|meant| meant != server.service.as_str()) {
            let reason = format!("this instance serves {}", server.service);
            return Err(CallError::new(CallErrorKind::WrongInstance, reason));
        }
        let slot = Slot::take(server).ok_or_else(|| {
            let reason = "too many calls to this instance are in flight";
            CallError::new(ErrorKind::Overloaded.into(), reason)
        })?;
        let body = packet.message.slice_ref(message.body);
        let mut call = Call::new(server.service.clone(), message.method, body)
            .with_timeout(packet.header.timeout.unwrap_or(server.options.timeout))
            .with_oneway(message.kind == MessageType::Oneway);
        call.headers.clone_from(&packet.header.headers);
        Ok(Box::pin(handle(call, slot)))
    }
}

/// A peer that asks and does not read.
fn unread() -> io::Error {
    io::Error::other("the peer does not read its answers")
}

fn note(proven: &AtomicBool, outcome: &Result<Reply, CallError>) {
    if outcome.is_ok() {
        proven.store(true, Ordering::Relaxed);
    }
}

async fn handle(call: Call, slot: Slot) -> Result<Reply, CallError> {
    let outcome = AssertUnwindSafe(slot.0.handler.handle(call)).catch_unwind().await;
    outcome.unwrap_or_else(|_| {
        Err(CallError::new(CallErrorKind::Framework, "the handler of the call panicked"))
    })
}

/// One call of those a host takes at a time.
struct Slot(Arc<Server>);

impl Slot {
    fn take(server: &Arc<Server>) -> Option<Self> {
        let slot = Self(Arc::clone(server));
        // Its drop takes back a slot that is one too many.
        let before = server.inflight.fetch_add(1, Ordering::Relaxed);
        (before < server.options.max_inflight).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}
