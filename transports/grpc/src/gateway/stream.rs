//! One stream, from its first message to its end: reads what the service says.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use registry_api::ErrorKind;
use registry_api::access::Credential;
use registry_api::call::{CallError, Reply};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Status;
use tonic::body::Body;
use uuid::Uuid;

use super::Entered;
use super::connection::{Closing, Connection};
use super::pending::Arrival;
use super::reception::Presence;
use super::service::{Door, instance, refusal};
use crate::frames::{Frame, Frames};
use crate::reverse::outbox::Outbox;
use crate::reverse::wire::connection_message::MessageType;
use crate::reverse::wire::connection_status::StatusType;
use crate::reverse::wire::subscription_request::Action;
use crate::reverse::wire::{
    ConnectionMessage, ConnectionRegister, EventMessage, ForwardRequest, ForwardResponse,
    SubscriptionRequest,
};
use crate::reverse::{MAX_MESSAGE, message, unix_seconds};

pub(super) struct Stream {
    door: Arc<Door>,
    entered: Entered,
    frames: Frames<Body>,
    presence: Option<Box<dyn Presence>>,
    /// Requests that came up and are being answered.
    asking: JoinSet<()>,
    offences: u32,
    /// What the service calls success, by what it answered last.
    convention: message::Convention,
    /// How far the outbox had got at the last look.
    taken: u64,
}

/// How a stream went on after a message.
enum Turn {
    Goes,
    Leaves,
}

/// So often a service may say what makes no sense.
const MAX_OFFENCES: u32 = 10;
/// How often a key is asked about again (R10: 5 s).
const CHECK: Duration = Duration::from_secs(4);
/// How often is looked whether a peer reads, in the time it may be stuck.
const LOOKS: u32 = 4;

/// Ends a stream with the answer it belongs to.
pub(super) struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Stream {
    /// Checks who it is and takes the connection in.
    pub(super) async fn open(
        door: Arc<Door>,
        register: ConnectionRegister,
        mut frames: Frames<Body>,
        ours: bool,
    ) -> Result<(Self, Arc<Outbox>), Status> {
        let credential = Credential::key(register.api_key.as_str());
        let board = Arc::clone(&door.board);
        let serial = board.next_serial();
        let id = match register.connection_id.is_empty() {
            true => Uuid::new_v4().to_string(),
            false => register.connection_id.clone(),
        };
        let spec = instance(&board, serial, &register, &id).map_err(|error| refusal(&error))?;
        let admitted = door.reception.admit(&credential, &spec).await;
        admitted.map_err(|error| refusal(&error))?;
        frames.set_limit(MAX_MESSAGE);
        let services = spec.offers.iter().map(|offer| offer.service.clone()).collect();
        let max_inflight = board.options.max_inflight;
        let connection = Connection::new(serial, id, services, credential, ours, max_inflight);
        let connection = Arc::new(connection);
        if !board.enter(&connection) {
            return Err(Status::resource_exhausted("the gateway has too many connections"));
        }
        let outbox = Arc::clone(&connection.outbox);
        let entered = Entered { board, connection };
        let presence = match spec.offers.is_empty() {
            true => None,
            false => Some(door.reception.join(spec).await),
        };
        entered.connection.greet();
        let stream = Self {
            door,
            entered,
            frames,
            presence,
            asking: JoinSet::new(),
            offences: 0,
            convention: message::Convention::Http,
            taken: 0,
        };
        Ok((stream, outbox))
    }

    /// Runs it until it ends, or what is returned is dropped.
    pub(super) fn start(self) -> Running {
        Running(tokio::spawn(self.run()).abort_handle())
    }

    fn connection(&self) -> &Arc<Connection> {
        &self.entered.connection
    }

    async fn run(mut self) {
        let end = self.converse().await;
        tracing::debug!(id = %self.connection().id, reason = end.message(), "a reverse connection ended");
        if end.code() != tonic::Code::Ok {
            self.connection().tell(StatusType::Disconnected, end.message());
        }
        self.connection().outbox.close(end);
        // Nobody is called over it any more, while the last words are written.
        let Self { entered, presence, asking, .. } = self;
        drop((presence, asking, entered));
    }

    /// The status that the stream ends with.
    async fn converse(&mut self) -> Status {
        let options = self.entered.board.options;
        let connection = Arc::clone(self.connection());
        let mut closing = connection.closing();
        let mut silence = pin!(sleep(options.heartbeat_timeout));
        let mut looks = interval((options.stuck / LOOKS).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck = 0;
        let mut checks = interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.reset(); // It was admitted a moment ago.
        loop {
            tokio::select! {
                biased;
                changed = closing.changed() => {
                    let told = closing.borrow_and_update().clone();
                    match (changed, told) {
                        (Ok(()), Some(Closing::Now(reason))) => return Status::unavailable(reason),
                        (Ok(()), Some(Closing::Draining)) => {
                            connection.tell(StatusType::Disconnected, "the gateway is going");
                            return self.drain(Status::unavailable("the gateway is going")).await;
                        }
                        (Ok(()), None) | (Err(_), _) => {}
                    }
                }
                () = superseded(&mut self.presence) => {
                    return Status::unavailable("another connection has taken this connection_id");
                }
                () = connection.beaten.notified() => {
                    silence.set(sleep(options.heartbeat_timeout));
                }
                () = &mut silence => {
                    let seconds = options.heartbeat_timeout.as_secs_f32();
                    return Status::unavailable(format!("no heartbeat for {seconds} s"));
                }
                _ = looks.tick() => {
                    stuck = if self.is_stuck() { stuck + 1 } else { 0 };
                    if stuck >= LOOKS {
                        connection.outbox.clear();
                        return Status::unavailable("the service does not read what it is sent");
                    }
                }
                _ = checks.tick() => {
                    let (credential, services) = (&connection.credential, &connection.services);
                    match self.door.reception.may_stay(credential, services).await {
                        Err(refused) if !refused.is_retryable() => return refusal(&refused),
                        // Where nobody can tell, what was allowed goes on.
                        Ok(()) | Err(_) => {}
                    }
                }
                Some(_) = self.asking.join_next(), if !self.asking.is_empty() => {}
                frame = self.frames.next() => match self.read_all(frame) {
                    Ok(Turn::Goes) => {}
                    Ok(Turn::Leaves) => return self.drain(Status::ok("")).await,
                    Err(end) => return end,
                },
            }
        }
    }

    /// Whether something waits that was not taken since the last look.
    fn is_stuck(&mut self) -> bool {
        let (taken, waits) = self.connection().outbox.progress();
        let moved = std::mem::replace(&mut self.taken, taken) != taken;
        waits && !moved
    }

    /// No new calls; those in flight may finish.
    async fn drain(&mut self, end: Status) -> Status {
        self.presence = None;
        let connection = Arc::clone(self.connection());
        let mut patience = pin!(sleep(self.entered.board.options.drain));
        let mut looks = interval(Duration::from_millis(10));
        loop {
            if connection.pending.len() == 0 && self.asking.is_empty() {
                return end;
            }
            tokio::select! {
                () = &mut patience => return end,
                _ = looks.tick() => {}
                Some(_) = self.asking.join_next(), if !self.asking.is_empty() => {}
                frame = self.frames.next() => {
                    if self.read_all(frame).is_err() {
                        return end;
                    }
                }
            }
        }
    }

    /// A message, and those that came with it: what else is waited for is not
    /// looked at for each of them.
    fn read_all(&mut self, first: Result<Frame, Status>) -> Result<Turn, Status> {
        let mut next = Some(first?);
        while let Some(frame) = next {
            if let Turn::Leaves = self.read(frame)? {
                return Ok(Turn::Leaves);
            }
            next = self.frames.buffered()?;
        }
        Ok(Turn::Goes)
    }

    fn read(&mut self, frame: Frame) -> Result<Turn, Status> {
        match frame {
            Frame::Message(bytes) => {
                let message = ConnectionMessage::decode(bytes);
                let message = message
                    .map_err(|_| Status::invalid_argument("a message is no ConnectionMessage"))?;
                self.said(message)
            }
            Frame::TooLarge(begun) => self.too_large(&begun),
            Frame::End(_) => Err(Status::ok("")),
        }
    }

    fn said(&mut self, message: ConnectionMessage) -> Result<Turn, Status> {
        match message.message_type {
            Some(MessageType::Response(response)) => {
                if let Some(convention) = message::convention_of(&response) {
                    self.convention = convention;
                }
                match self.connection().pending.answer(response) {
                    Arrival::Awaited | Arrival::Late => {}
                    Arrival::Unasked => return self.offend("an answer that nobody waits for"),
                }
            }
            Some(MessageType::Request(request)) => self.ask(request)?,
            Some(MessageType::Heartbeat(beat)) => self.beat(&beat.connection_id),
            Some(MessageType::Status(status)) if status.status() == StatusType::Disconnected => {
                return Ok(Turn::Leaves);
            }
            Some(MessageType::Event(event)) => self.publish(event),
            Some(MessageType::Subscription(subscription)) => self.subscribe(subscription),
            Some(MessageType::Register(_)) => return self.offend("a second register"),
            // How it sees itself, and what a later version says.
            Some(MessageType::Status(_)) | None => {}
        }
        Ok(Turn::Goes)
    }

    fn beat(&self, id: &str) {
        if !self.entered.board.beat(self.connection(), id) {
            tracing::debug!(id, "a heartbeat for nobody");
        }
    }

    fn offend(&mut self, what: &str) -> Result<Turn, Status> {
        self.offences += 1;
        tracing::debug!(id = %self.connection().id, what, "a service says what makes no sense");
        match self.offences < MAX_OFFENCES {
            true => Ok(Turn::Goes),
            false => Err(Status::invalid_argument(format!("{what}, and not for the first time"))),
        }
    }

    /// Answered, so that its caller need not wait for the deadline.
    fn too_large(&mut self, begun: &Bytes) -> Result<Turn, Status> {
        match message::id_of_beginning(begun) {
            Some((true, id)) => {
                let reason = "the request is too large";
                self.respond(id, Err(CallError::new(ErrorKind::InvalidArgument.into(), reason)))?;
                Ok(Turn::Goes)
            }
            Some((false, id)) if self.connection().pending.too_large(&id) != Arrival::Unasked => {
                Ok(Turn::Goes)
            }
            _ => self.offend("a message that is too large"),
        }
    }

    /// A request of the service to another one.
    fn ask(&mut self, request: ForwardRequest) -> Result<(), Status> {
        let id = request.request_id.clone();
        if self.asking.len() >= self.entered.board.options.max_inflight {
            let full = CallError::new(ErrorKind::Overloaded.into(), "Too many pending requests");
            return self.respond(id, Err(full));
        }
        let incoming = match message::to_incoming(request) {
            Ok(incoming) => incoming,
            Err(reason) => {
                let wrong = CallError::new(ErrorKind::InvalidArgument.into(), reason);
                return self.respond(id, Err(wrong));
            }
        };
        let dispatch = Arc::clone(&self.door.dispatch);
        let (connection, convention) = (Arc::clone(self.connection()), self.convention);
        self.asking.spawn(async move {
            let outcome = dispatch.dispatch(incoming).await.and_then(Reply::whole);
            let response = message::to_response(id, outcome, convention, connection.ours);
            if connection.respond(response).is_err() {
                connection.close(Closing::Now("the service does not read its answers".to_owned()));
            }
        });
        Ok(())
    }

    fn respond(&self, id: String, outcome: Result<Reply, CallError>) -> Result<(), Status> {
        let connection = self.connection();
        let response: ForwardResponse =
            message::to_response(id, outcome, self.convention, connection.ours);
        let unread = |_| Status::unavailable("the service does not read its answers");
        connection.respond(response).map_err(unread)
    }

    fn publish(&self, mut event: EventMessage) {
        if event.event_type.is_empty() {
            self.connection().tell(StatusType::Error, "an event must have an event_type");
            return;
        }
        if event.event_id.is_empty() {
            event.event_id = Uuid::new_v4().to_string();
        }
        if event.timestamp == 0 {
            event.timestamp = unix_seconds();
        }
        let told = self.entered.board.publish(&event);
        tracing::trace!(kind = event.event_type, told, "an event");
    }

    fn subscribe(&self, subscription: SubscriptionRequest) {
        let (board, serial) = (&self.entered.board, self.connection().serial);
        let taken = match subscription.action() {
            Action::Subscribe => board.write().events.subscribe(serial, subscription.event_types),
            Action::Unsubscribe => {
                board.write().events.unsubscribe(serial, &subscription.event_types);
                true
            }
        };
        if !taken {
            self.connection().tell(StatusType::Error, "too many subscriptions");
        }
    }
}

async fn superseded(presence: &mut Option<Box<dyn Presence>>) {
    match presence {
        Some(presence) => presence.superseded().await,
        None => std::future::pending().await,
    }
}
