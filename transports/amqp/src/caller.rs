//! The calling side: to one instance, whose queue the address names.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::message::Delivery;
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Peer, Reply};
use registry_api::{Address, ErrorKind, Result, Target, Transport};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::bus::{Broker, Bus, Delivered, Outlet, Role};
use crate::content::Content;
use crate::error::{self, PlatformError};
use crate::message::{Answer, Facts, Request, cancel};
use crate::names::{MAX_SHORT, client_queue};
use crate::{CANCELS, MAX_MESSAGE};

/// Calls instances at `amqp:<queue>`.
///
/// A call's payload is the encoded request, a reply's the encoded response: protobuf,
/// or JSON where the content type says so. One connection and one queue for replies,
/// made again when they are lost.
pub struct AmqpCaller {
    shared: Arc<Shared>,
    link: watch::Receiver<Link>,
    cancels: mpsc::UnboundedSender<(String, String)>,
    options: CallerOptions,
    _task: AbortOnDropHandle<()>,
}

/// How a caller behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallerOptions {
    /// The service that calls; empty if it is none.
    pub from: String,
    /// The largest message that is sent or taken, in bytes.
    pub max_message: usize,
}

impl Default for CallerOptions {
    /// Nobody's calls, messages of 1 MiB.
    fn default() -> Self {
        Self { from: String::new(), max_message: MAX_MESSAGE }
    }
}

impl CallerOptions {
    /// Sets the service that calls.
    #[must_use]
    pub fn with_from(mut self, service: impl Into<String>) -> Self {
        self.from = service.into();
        self
    }
}

/// Who waits for what.
#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<String, oneshot::Sender<Answered>>>,
}

/// An answer and its body.
struct Answered(Answer, Bytes);

/// How to publish, while that is possible.
#[derive(Clone)]
enum Link {
    Connecting,
    Down,
    Up(Arc<Up>),
}

struct Up {
    outlet: Outlet,
    queue: String,
    /// Just back from a loss, which instances may have had too.
    recovering: AtomicBool,
}

impl Up {
    /// Publishes to an instance. Who was cut off together with us is about to be back,
    /// and waited for: nothing was run.
    async fn deliver(&self, queue: &str, request: &Request, body: &[u8]) -> Result<Delivered> {
        loop {
            let delivered = self.outlet.deliver(queue, request.properties(), body).await?;
            if delivered == Delivered::Queued || !self.recovering.load(Ordering::Relaxed) {
                return Ok(delivered);
            }
            sleep(FIRST_REST).await;
        }
    }
}

impl AmqpCaller {
    /// A caller through this broker. It connects by itself, and again.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: it spawns the task that reads replies.
    pub fn new(broker: Broker, options: CallerOptions) -> Self {
        let shared = Arc::new(Shared::default());
        let (tell, link) = watch::channel(Link::Connecting);
        let (cancels, cancelled) = mpsc::unbounded_channel();
        let reader = Reader { broker, shared: Arc::clone(&shared), tell, cancelled };
        let task = AbortOnDropHandle::new(tokio::spawn(reader.run()));
        Self { shared, link, cancels, options, _task: task }
    }

    async fn ask(&self, peer: Peer<'_>, queue: &str, call: &Call) -> Result<Reply, CallError> {
        let up = self.up().await?;
        let request = self.request(call, &up.queue)?;
        let id = request.message_id.clone();
        let (tell, told) = oneshot::channel();
        let mut waiting =
            Waiting { id: &id, queue, caller: self, is_to_be_told: peer.fact(CANCELS) == "true" };
        self.shared.lock().insert(id.clone(), tell);
        let sent = up.deliver(queue, &request, &call.payload).await;
        match sent.map_err(|error| lost(error.message()))? {
            Delivered::Queued if call.oneway => return Ok(Reply::default()),
            Delivered::Queued => {}
            Delivered::Returned => {
                waiting.is_to_be_told = false; // There is nobody to be told.
                let gone = CallError::new(ErrorKind::Unavailable.into(), "there is no such queue");
                return Err(gone.not_run());
            }
        }
        let answered = told.await;
        waiting.is_to_be_told = false;
        let Answered(answer, body) = answered.map_err(|_| lost("the connection was lost"))?;
        read(answer, body, self.options.max_message)
    }

    /// A connection that works, or why there is none.
    async fn up(&self) -> Result<Arc<Up>, CallError> {
        let mut link = self.link.clone();
        let known = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        match known.map(|link| link.clone()) {
            Ok(Link::Up(up)) => Ok(up),
            Ok(Link::Connecting | Link::Down) | Err(_) => {
                Err(lost("the broker cannot be reached").not_run())
            }
        }
    }

    fn request(&self, call: &Call, reply_to: &str) -> Result<Request, CallError> {
        let invalid = |why: String| CallError::new(ErrorKind::InvalidArgument.into(), why);
        if call.payload.len() > self.options.max_message {
            let most = self.options.max_message;
            return Err(invalid(format!("a request has at most {most} bytes")));
        }
        let content = match &*call.content_type {
            "" => Content::default(),
            text => Content::parse(text)
                .ok_or_else(|| invalid(format!("H2 has no content type {text:?}")))?,
        };
        Ok(Request {
            message_id: uuid::Uuid::new_v4().to_string(),
            reply_to: reply_to.to_owned(),
            service: call.service.to_string(),
            endpoint: call.method.clone(),
            facts: Facts { from: self.options.from.clone(), ..Facts::default() },
            timeout: Some(call.time_left()),
            headers: call.headers.clone(),
            content: Some(content),
        })
    }
}

#[async_trait]
impl Caller for AmqpCaller {
    fn speaks(&self, address: &Address) -> bool {
        address.transport() == Transport::Amqp
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let Target::Queue(queue) = peer.address.target() else {
            return Err(lost("the address is no queue").not_run());
        };
        if queue.len() > MAX_SHORT {
            return Err(lost("no queue has such a long name").not_run());
        }
        match timeout(call.time_left(), self.ask(peer, queue, &call)).await {
            Ok(answer) => answer,
            Err(_) => {
                let late = "no answer before the deadline";
                Err(CallError::new(ErrorKind::Timeout.into(), late))
            }
        }
    }
}

/// A call that waits. Dropped before its answer came, it is given up, and an
/// instance that understands this is told.
struct Waiting<'a> {
    id: &'a str,
    queue: &'a str,
    caller: &'a AmqpCaller,
    /// Whether the instance has to be told when this is dropped.
    is_to_be_told: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.caller.shared.lock().remove(self.id);
        if self.is_to_be_told {
            let _ = self.caller.cancels.send((self.queue.to_owned(), self.id.to_owned()));
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Answered>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an answer to whoever waits; one that nobody waits for is late, or not ours.
    fn answer(&self, delivery: Delivery) {
        let Some(answer) = Answer::read(&delivery.properties) else {
            tracing::debug!("an answer that does not say to what; dropped");
            return;
        };
        let waits = self.lock().remove(&answer.to);
        if let Some(tell) = waits {
            let _ = tell.send(Answered(answer, delivery.data.into())); // It may have given up.
        }
    }
}

/// Reads replies, over one connection after the other.
struct Reader {
    broker: Broker,
    shared: Arc<Shared>,
    tell: watch::Sender<Link>,
    cancelled: mpsc::UnboundedReceiver<(String, String)>,
}

impl Reader {
    async fn run(mut self) {
        let (mut rest, mut lost) = (FIRST_REST, false);
        loop {
            let queue = client_queue();
            match Bus::open(&self.broker, &queue, Role::Caller).await {
                Ok(bus) => {
                    rest = FIRST_REST;
                    self.read(bus, queue, lost).await;
                    lost = true;
                    // Nobody can answer them any more.
                    self.shared.lock().clear();
                }
                Err(error) => {
                    tracing::debug!(?error, "no connection for replies");
                    self.tell.send_replace(Link::Down);
                    sleep(rest).await;
                    rest = (rest * 2).min(MOST_REST);
                }
            }
            self.tell.send_replace(Link::Connecting);
        }
    }

    async fn read(&mut self, mut bus: Bus, queue: String, lost: bool) {
        let outlet = bus.outlet();
        let up = Up { outlet: outlet.clone(), queue, recovering: AtomicBool::new(lost) };
        let up = Arc::new(up);
        self.tell.send_replace(Link::Up(Arc::clone(&up)));
        let mut recovered = pin!(sleep(RECOVERY));
        loop {
            tokio::select! {
                () = &mut recovered, if up.recovering.load(Ordering::Relaxed) => {
                    up.recovering.store(false, Ordering::Relaxed);
                }
                delivery = bus.next() => match delivery {
                    Some(delivery) => self.shared.answer(delivery),
                    None => break,
                },
                Some((instance, id)) = self.cancelled.recv() => {
                    outlet.send(&instance, cancel(&id), b"").await;
                }
            }
        }
        self.tell.send_replace(Link::Connecting);
    }
}

/// Between two tries to connect.
const FIRST_REST: Duration = Duration::from_millis(50);
const MOST_REST: Duration = Duration::from_secs(2);
/// How long after a loss an instance that is not there may be about to come back.
const RECOVERY: Duration = Duration::from_secs(1);

fn read(answer: Answer, body: Bytes, max: usize) -> Result<Reply, CallError> {
    let broken = |why: &str| Err(CallError::new(CallErrorKind::Framework, why));
    if body.len() > max {
        return broken("the answer is too large");
    }
    let Some(content) = answer.content else {
        return broken("the answer has a content type that is not H2's");
    };
    if answer.is_error {
        return match PlatformError::read(content, &body) {
            Some(platform) => Err(error::read(&platform)),
            None => broken("the error in the answer cannot be read"),
        };
    }
    let mut reply = Reply::new(body);
    reply.headers = answer.headers;
    if content == Content::Json {
        reply.content_type = content.as_str().to_owned();
    }
    Ok(reply)
}

/// It may have been run: the answer was lost, or the way there.
fn lost(why: &str) -> CallError {
    CallError::new(ErrorKind::Unavailable.into(), why)
}

impl Debug for AmqpCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpCaller").field("options", &self.options).finish_non_exhaustive()
    }
}
