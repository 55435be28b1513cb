//! One connection of a host: takes questions, runs them, writes answers.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use registry_api::ErrorKind;
use registry_api::call::{Call, CallError, CallErrorKind, Reply};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Server;
use super::asked::Asked;
use crate::cancel;
use crate::link::{Duplex, Event, Outbox, Stream};
use crate::wire::{Message, MessageType, Packet};

pub(super) struct Connection {
    server: Arc<Server>,
    link: Duplex<Box<dyn Stream>>,
    /// Where calls that take their time leave their answers.
    outbox: Arc<Outbox>,
    /// Ended with the connection: nobody is there to be answered.
    running: JoinSet<()>,
    cancellable: HashMap<i32, AbortHandle>,
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
type Running = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

const TICK: Duration = Duration::from_secs(5);
/// A peer may be stuck in the middle of something for so many ticks: 5 to 10 s.
const HALF: u32 = 2;

impl Connection {
    pub(super) fn new(server: Arc<Server>, stream: Box<dyn Stream>) -> Self {
        Self {
            link: Duplex::new(stream, server.options.max_unproven),
            server,
            proven: Arc::default(),
            outbox: Arc::default(),
            running: JoinSet::new(),
            cancellable: HashMap::new(),
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
        let mut draining = false;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.proven.load(Ordering::Relaxed) {
                self.link.set_limit(self.server.options.max_message);
            }
            while let Some(packet) = self.link.next()? {
                self.quiet.half = 0;
                self.take(&packet).await?;
            }
            if draining && self.is_settled() {
                return Ok(());
            }
            tokio::select! {
                biased;
                event = self.link.turn(&self.outbox) => match event? {
                    Event::Arrived => self.quiet.read = 0,
                    Event::Written => self.quiet.half = 0,
                    Event::Ended => return Ok(()),
                },
                _ = self.running.join_next(), if !self.running.is_empty() => self.forget_ended(),
                _ = ticks.tick() => self.tick()?,
                _ = closing.wait_for(|closing| *closing), if !draining => draining = true,
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.running.is_empty() && self.outbox.is_empty() && !self.link.is_writing()
    }

    /// Closes what has been quiet for too long.
    fn tick(&mut self) -> io::Result<()> {
        if self.outbox.is_closed() {
            return Err(io::Error::other("the peer does not read its answers"));
        }
        self.quiet.read += 1;
        self.quiet.half += u32::from(self.link.has_more() || self.link.is_writing());
        let idle = TICK * (self.quiet.read - 1) >= self.server.options.idle;
        if self.quiet.half > HALF || (idle && self.is_settled()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn forget_ended(&mut self) {
        while self.running.try_join_next().is_some() {}
        if self.cancellable.len() > 2 * self.running.len() + 16 {
            self.cancellable.retain(|_, task| !task.is_finished());
        }
    }

    /// Answers one question, now or later.
    async fn take(&mut self, packet: &Packet) -> io::Result<()> {
        let message = Message::parse(&packet.message).map_err(io::Error::other)?;
        if message.kind == MessageType::Oneway && message.method == cancel::METHOD {
            let sequence = cancel::read(message.body).map_err(io::Error::other)?;
            if let Some(task) = self.cancellable.remove(&sequence) {
                task.abort();
            }
            return Ok(());
        }
        let asked = Asked::new(packet, &message, self.server.options.max_message);
        let mut running = match self.begin(packet, &message) {
            Ok(running) => running,
            Err(refused) => return self.say(&asked, Err(refused)),
        };
        // A call that came alone and needs not wait is answered on the spot.
        if !self.link.has_more()
            && let Poll::Ready(outcome) = poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await
        {
            note(&self.proven, &outcome);
            return self.say(&asked, outcome);
        }
        let limit = packet.header.timeout.unwrap_or(self.server.options.timeout);
        let (outbox, sequence) = (Arc::clone(&self.outbox), asked.sequence());
        let proven = Arc::clone(&self.proven);
        let task = self.running.spawn(async move {
            let outcome = timeout(limit, running).await.unwrap_or_else(|_| {
                let reason = "the deadline passed while the call was running";
                Err(CallError::new(ErrorKind::Timeout.into(), reason))
            });
            note(&proven, &outcome);
            if outbox.push(|out| asked.answer(outcome, out)).is_err() {
                outbox.close(); // An answer is lost: its caller must learn that.
            }
        });
        self.cancellable.insert(sequence, task);
        Ok(())
    }

    fn say(&mut self, asked: &Asked, outcome: Result<Reply, CallError>) -> io::Result<()> {
        asked.answer(outcome, self.link.output()).map_err(io::Error::other)
    }

    /// The call, not yet polled; or why it is refused.
    fn begin(&self, packet: &Packet, message: &Message<'_>) -> Result<Running, CallError> {
        if !matches!(message.kind, MessageType::Call | MessageType::Oneway) {
            return Err(CallError::new(CallErrorKind::Framework, "a call was expected"));
        }
        let server = Arc::clone(&self.server);
        let meant = packet.header.service.as_deref();
        if meant.is_some_and(|meant| meant != server.service.as_str()) {
            let reason = format!("this instance serves {}", server.service);
            return Err(CallError::new(CallErrorKind::WrongInstance, reason));
        }
        let slot = Arc::clone(&server.slots).try_acquire_owned().map_err(|_| {
            let reason = "too many calls to this instance are in flight";
            CallError::new(ErrorKind::Overloaded.into(), reason)
        })?;
        let body = packet.message.slice_ref(message.body);
        let mut call = Call::new(server.service.clone(), message.method, body)
            .with_timeout(packet.header.timeout.unwrap_or(server.options.timeout))
            .with_oneway(message.kind == MessageType::Oneway);
        call.headers.clone_from(&packet.header.headers);
        Ok(Box::pin(handle(server, call, slot)))
    }
}

fn note(proven: &AtomicBool, outcome: &Result<Reply, CallError>) {
    if outcome.is_ok() {
        proven.store(true, Ordering::Relaxed);
    }
}

async fn handle(
    server: Arc<Server>,
    call: Call,
    _slot: OwnedSemaphorePermit,
) -> Result<Reply, CallError> {
    let outcome = AssertUnwindSafe(server.handler.handle(call)).catch_unwind().await;
    outcome.unwrap_or_else(|_| {
        Err(CallError::new(CallErrorKind::Framework, "the handler of the call panicked"))
    })
}
