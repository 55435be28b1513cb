//! One connection of a service to a gateway, from the first message to the end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, header};
use prost::Message;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, More, Reply};
use registry_api::{ErrorKind, ServiceName};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower_service::Service;

use super::running::{Running, Window};
use super::{ReverseOptions, ReverseState};
use crate::frames::{Frame, Frames};
use crate::front::status_of;
use crate::reverse::outbox::{Outbox, OutboxBody};
use crate::reverse::wire::connection_message::MessageType;
use crate::reverse::wire::connection_status::StatusType;
use crate::reverse::wire::{
    ConnectionMessage, ConnectionRegister, ConnectionStatus, ForwardRequest, ForwardResponse,
    Heartbeat,
};
use crate::reverse::{
    ESTABLISH, MAX_MESSAGE, MAX_PAYLOAD, OURS, candidates, message, split, unix_seconds,
};

/// What the connections to all gateways share.
pub(super) struct Shared {
    services: Vec<ServiceName>,
    handler: Arc<dyn Handler>,
    options: ReverseOptions,
    inflight: AtomicUsize,
}

pub(super) struct Session<'a> {
    shared: Arc<Shared>,
    gateway: Channel,
    state: &'a watch::Sender<ReverseState>,
    outbox: Arc<Outbox>,
    id: String,
    /// The gateway is of this crate.
    ours: bool,
    running: Running,
    /// Calls whose ids are no numbers of ours.
    uncounted: u64,
}

/// How long a gateway may take to answer, and to say that we are connected.
const GREETED_WITHIN: Duration = Duration::from_secs(10);

impl Shared {
    pub(super) fn new(
        services: Vec<ServiceName>,
        handler: Arc<dyn Handler>,
        options: ReverseOptions,
    ) -> Self {
        Self { services, handler, options, inflight: AtomicUsize::new(0) }
    }

    /// The service that a path means here.
    fn service_of(&self, path: &str) -> Option<&ServiceName> {
        let (interface, _) = split(path)?;
        let own = self.services.iter().find(|service| service.as_str() == interface);
        if own.is_some() {
            return own;
        }
        let mut names = candidates(interface);
        names.find_map(|name| self.services.iter().find(|service| **service == name))
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(
        shared: Arc<Shared>,
        gateway: Channel,
        state: &'a watch::Sender<ReverseState>,
    ) -> Self {
        Self {
            shared,
            gateway,
            state,
            outbox: Arc::default(),
            id: String::new(),
            ours: false,
            running: Running::default(),
            uncounted: 0,
        }
    }

    /// Connects and answers until the stream ends. `Ok` is an end that was meant.
    pub(super) async fn run(mut self, closing: &mut watch::Receiver<bool>) -> Result<(), Status> {
        let mut frames = tokio::select! {
            connected = timeout(GREETED_WITHIN, self.connect()) => {
                connected.map_err(|_| Status::deadline_exceeded("the gateway did not answer"))??
            }
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        self.state.send_replace(ReverseState::Connected(self.id.clone()));
        let ended = tokio::select! {
            ended = self.serve(&mut frames) => Some(ended),
            _ = closing.wait_for(|closing| *closing) => None,
        };
        match ended {
            Some(ended) => ended,
            None => {
                self.drain(&mut frames).await;
                Ok(())
            }
        }
    }

    async fn connect(&mut self) -> Result<Frames<Body>, Status> {
        let options = &self.shared.options;
        let register = ConnectionRegister {
            api_key: options.credential.expose().to_owned(),
            services: self.shared.services.iter().map(ToString::to_string).collect(),
            // A new one each time: whoever has the old one is gone.
            connection_id: String::new(),
        };
        // The queue is empty, so there is room.
        let _ = self.outbox.push_first(MessageType::Register(register));
        let body = OutboxBody::question(Arc::clone(&self.outbox), ());
        let mut request = Request::post(ESTABLISH).body(Body::new(body)).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(OURS, HeaderValue::from_static("1"));
        std::future::poll_fn(|cx| self.gateway.poll_ready(cx)).await.map_err(unreachable)?;
        let answer = self.gateway.call(request).await.map_err(unreachable)?;
        let (head, body) = answer.into_parts();
        if head.headers.contains_key("grpc-status") {
            return Err(status_of(&head.headers, &HeaderMap::new()));
        }
        self.ours = head.headers.contains_key(OURS);
        let mut frames = Frames::new(body, MAX_MESSAGE);
        loop {
            let Frame::Message(message) = ended(frames.next().await?)? else { continue };
            if let Some(MessageType::Status(status)) = said(message)?.message_type {
                self.id.clone_from(&status.connection_id);
                return Ok(frames);
            }
        }
    }

    /// Answers calls and beats.
    async fn serve(&mut self, frames: &mut Frames<Body>) -> Result<(), Status> {
        let mut beats = interval(self.shared.options.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => self.beat()?,
                frame = frames.next() => {
                    self.read(ended(frame?)?)?;
                    // Those that came with it: the next heartbeat is not looked at for
                    // each of them.
                    while let Some(frame) = frames.buffered()? {
                        self.read(frame)?;
                    }
                }
            }
        }
    }

    /// Says that it is going, and answers what is in flight.
    async fn drain(&mut self, frames: &mut Frames<Body>) {
        let status = ConnectionStatus {
            connection_id: self.id.clone(),
            status: StatusType::Disconnected.into(),
            message: "the service is going".to_owned(),
        };
        let _ = self.outbox.push_first(MessageType::Status(status));
        let patience = self.shared.options.drain;
        tokio::select! {
            _ = self.serve(frames) => {} // The gateway ends it once it has all answers.
            () = sleep(patience) => {}
        }
    }

    fn beat(&self) -> Result<(), Status> {
        let beat = Heartbeat { timestamp: unix_seconds(), connection_id: self.id.clone() };
        let stuck = |_| Status::unavailable("the gateway does not read what it is sent");
        self.outbox.push_first(MessageType::Heartbeat(beat)).map_err(stuck)
    }

    fn read(&mut self, frame: Frame) -> Result<(), Status> {
        match frame {
            Frame::Message(message) => {
                if let Some(MessageType::Request(request)) = said(message)?.message_type {
                    self.asked(request);
                }
            }
            Frame::TooLarge(begun) => {
                if let Some((true, id)) = message::id_of_beginning(&begun) {
                    let reason = "the call is too large";
                    let error = CallError::new(ErrorKind::InvalidArgument.into(), reason);
                    respond(&self.outbox, id, Err(error), self.ours);
                }
            }
            Frame::End(_) => {}
        }
        Ok(())
    }

    fn asked(&mut self, request: ForwardRequest) {
        let id = request.request_id.clone();
        if request.method_path == message::WINDOW {
            let more = request.streaming_info.map_or(0, |info| info.sequence_number);
            let more = usize::try_from(more).unwrap_or(0).min(message::AHEAD);
            return id.parse().map_or((), |number| self.running.windows().allow(number, more));
        }
        if request.method_path == message::CANCEL {
            // Only gateways of this crate take back calls, and they count them.
            return id.parse().map_or((), |number| self.running.cancel(number));
        }
        let call = match self.call(request) {
            Ok(call) => call,
            Err(refused) => return respond(&self.outbox, id, Err(refused), self.ours),
        };
        let Some(slot) = Slot::take(&self.shared) else {
            let reason = "too many calls to this instance are in flight";
            let full = CallError::new(ErrorKind::Overloaded.into(), reason);
            return respond(&self.outbox, id, Err(full), self.ours);
        };
        let (outbox, ours) = (Arc::clone(&self.outbox), self.ours);
        let counted = if ours { id.parse().ok() } else { None };
        let number = counted.unwrap_or_else(|| {
            self.uncounted += 1;
            u64::MAX - self.uncounted
        });
        let limit = call.timeout.unwrap_or(self.shared.options.timeout);
        let windows = Arc::clone(self.running.windows());
        self.running.start(number, async move {
            let sending = Sending { outbox, id, ours };
            let streaming = AtomicBool::new(false);
            let answering = async {
                let (_slot, outcome) = answer(slot, call).await;
                match outcome {
                    Ok(mut reply) if reply.more.is_some() && ours => {
                        streaming.store(true, Ordering::Relaxed);
                        let (more, window) =
                            (reply.more.take(), windows.open(number, message::AHEAD));
                        // Apart: most calls have one result, and need no room for this.
                        Box::pin(sending.stream(reply, more, window)).await;
                    }
                    outcome => sending.whole(outcome.and_then(Reply::whole)),
                }
            };
            let in_time = timeout(limit, answering).await;
            match (in_time, streaming.load(Ordering::Relaxed)) {
                (Ok(()), _) => {}
                (Err(_), false) => sending.whole(Err(late())),
                (Err(_), true) => sending.end(Err(late())),
            }
        });
    }

    fn call(&self, request: ForwardRequest) -> Result<Call, CallError> {
        let Some(service) = self.shared.service_of(&request.method_path) else {
            let reason = format!("nobody here serves {}", request.method_path);
            return Err(CallError::new(CallErrorKind::UnknownMethod, reason));
        };
        let no_path = || CallError::new(CallErrorKind::UnknownMethod, "the path is none");
        message::to_call(request, service).ok_or_else(no_path)
    }
}

/// A gateway is told also where nobody had the time to say so: HTTP/2 goes on sending
/// a question whose asker is gone.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.outbox.clear();
        self.outbox.close(Status::ok(""));
    }
}

/// One call of those a host takes at a time.
struct Slot(Arc<Shared>);

impl Slot {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let slot = Self(Arc::clone(shared));
        // Its drop takes back a slot that is one too many.
        let before = shared.inflight.fetch_add(1, Ordering::Relaxed);
        (before < shared.options.max_inflight).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The outcome, and the place the call takes until all of it is sent.
async fn answer(slot: Slot, mut call: Call) -> (Slot, Result<Reply, CallError>) {
    call.timeout.get_or_insert(slot.0.options.timeout);
    let answering = AssertUnwindSafe(slot.0.handler.handle(call)).catch_unwind().await;
    let outcome = answering.unwrap_or_else(|_| {
        Err(CallError::new(CallErrorKind::Framework, "the handler of the call panicked"))
    });
    let outcome = outcome.and_then(|reply| match reply.payload.len() <= MAX_PAYLOAD {
        true => Ok(reply),
        false => Err(too_large()),
    });
    (slot, outcome)
}

fn too_large() -> CallError {
    CallError::new(CallErrorKind::Framework, "the answer is too large")
}

fn late() -> CallError {
    CallError::new(ErrorKind::Timeout.into(), "the deadline passed while the call was running")
}

/// Where an answer goes.
struct Sending {
    outbox: Arc<Outbox>,
    id: String,
    ours: bool,
}

impl Sending {
    fn whole(&self, outcome: Result<Reply, CallError>) {
        respond(&self.outbox, self.id.clone(), outcome, self.ours);
    }

    /// The results of a stream, no more of them ahead of their reader than there
    /// is room for.
    async fn stream(&self, first: Reply, more: Option<More>, window: Window) {
        self.result(Ok(first), 0, false);
        let mut sequence = 0;
        let Some(mut more) = more else { return self.end(Ok(())) };
        loop {
            window.pass().await;
            sequence += 1;
            match more.next().await {
                Some(Ok(payload)) if payload.len() <= MAX_PAYLOAD => {
                    self.result(Ok(Reply::new(payload)), sequence, false);
                }
                Some(Ok(_)) => return self.end(Err(too_large())),
                Some(Err(error)) => return self.end(Err(error)),
                None => return self.end(Ok(())),
            }
        }
    }

    fn end(&self, ended: Result<(), CallError>) {
        self.result(ended.map(|()| Reply::default()), -1, true);
    }

    fn result(&self, outcome: Result<Reply, CallError>, sequence: i64, last: bool) {
        let id = self.id.clone();
        let response = message::to_response(id, outcome, message::Convention::Http, self.ours);
        send(&self.outbox, message::of_stream(response, sequence, last));
    }
}

/// Gateways in the field take 200 for a success.
fn respond(outbox: &Outbox, id: String, outcome: Result<Reply, CallError>, exact: bool) {
    send(outbox, message::to_response(id, outcome, message::Convention::Http, exact));
}

/// A gateway that reads nothing learns from the missing answer what it must.
fn send(outbox: &Outbox, response: ForwardResponse) {
    if outbox.push(MessageType::Response(response)).is_err() {
        outbox.close(Status::unavailable("the gateway does not read its answers"));
    }
}

fn said(message: bytes::Bytes) -> Result<ConnectionMessage, Status> {
    let broken = |_| Status::internal("the gateway sent what is no ConnectionMessage");
    ConnectionMessage::decode(message).map_err(broken)
}

/// The end of the stream as the status it says.
fn ended(frame: Frame) -> Result<Frame, Status> {
    let Frame::End(trailers) = frame else { return Ok(frame) };
    match status_of(&HeaderMap::new(), &trailers) {
        status if status.code() == Code::Ok => {
            Err(Status::unavailable("the gateway ended the connection"))
        }
        status => Err(status),
    }
}

fn unreachable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the gateway cannot be reached: {error}"))
}
