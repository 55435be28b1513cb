//! The calling side: to one instance, whose queue the address names.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::Connection;
use lapin::message::Delivery;
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Headers, Peer, Reply};
use registry_api::{Address, Error, ErrorKind, Result, Target, Transport};
use tokio::sync::{Notify, OnceCell, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::bus::{Broker, Bus, Delivered, FULL, Outlet, Role, To, patient, patiently};
use crate::content::Content;
use crate::error::{self, PlatformError};
use crate::facts::Facts;
use crate::message::{Answer, Request, cancel, publication};
use crate::names::{MAX_SHORT, check_topic, client_queue};
use crate::sending::{CallerOptions, Sending};
use crate::{CANCELS, reach};

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

/// Who waits for what.
#[derive(Default)]
struct Shared {
    /// Somebody wants a connection.
    wanted: Notify,
    waiting: Mutex<HashMap<String, oneshot::Sender<Answered>>>,
}

/// An answer and its body, and the queue of the instance that gave it.
struct Answered(Answer, Bytes, String);

/// A reply, and who gave it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answering {
    /// The reply.
    pub reply: Reply,
    /// The queue of the instance, which is its id; empty where it did not say.
    pub instance: String,
}

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
    connection: Arc<Connection>,
    /// Whether the exchanges of requests and publications are there: who publishes to
    /// none loses the channel.
    exchanges: OnceCell<()>,
    /// Just back from a loss, which instances may have had too.
    recovering: AtomicBool,
}

impl Up {
    /// Publishes to an instance. Who was cut off together with us is about to be back,
    /// and waited for: nothing was run.
    async fn deliver(&self, to: To<'_>, request: &Request, body: &[u8]) -> Result<Delivered> {
        if to == To::Service {
            self.exchanges().await?;
        }
        loop {
            let delivered = self.outlet.deliver(to, request.properties(), body).await?;
            if delivered == Delivered::Queued || !self.recovering.load(Ordering::Relaxed) {
                return Ok(delivered);
            }
            sleep(FIRST_REST).await;
        }
    }

    async fn exchanges(&self) -> Result<()> {
        let declare = async {
            patiently(reach::requests(&self.connection)).await?;
            patiently(reach::topics(&self.connection)).await
        };
        self.exchanges.get_or_try_init(|| declare).await.copied()
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

    /// Calls the service, at an instance that the broker chooses: for who has no
    /// registry to choose from.
    ///
    /// Errors: `NoInstance`, at once, where no instance is bound to `h2o`.
    pub async fn call_service(&self, call: Call) -> Result<Answering, CallError> {
        self.within(To::Service, None, &call).await
    }

    /// Calls the instance that has this queue.
    pub(crate) async fn call_queue(&self, queue: &str, call: &Call) -> Result<Reply, CallError> {
        self.within(To::Queue(queue), None, call).await.map(|answering| answering.reply)
    }

    /// Publishes to every instance that reads a topic, at most once: nobody answers,
    /// and there may be nobody. Who it is for, `headers` may say as
    /// [`header::SESSION`](crate::header::SESSION).
    ///
    /// Errors: `InvalidArgument` for a topic or a body that is too long; `Unavailable`.
    pub async fn publish(
        &self,
        topic: &str,
        content: Content,
        body: &[u8],
        headers: &Headers,
    ) -> Result<()> {
        check_topic(topic)?;
        if body.len() > self.options.max_message {
            let most = self.options.max_message;
            return Err(Error::invalid("body", format!("must have at most {most} bytes")));
        }
        let up = self.up().await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, error.message()) // Nothing was sent.
        })?;
        up.exchanges().await?;
        let (facts, _) = Facts::split(headers);
        let properties = publication(topic, &facts.session_id, &up.queue, content);
        patient(up.outlet.publish(topic, properties, body)).await
    }

    async fn within(
        &self,
        to: To<'_>,
        peer: Option<Peer<'_>>,
        call: &Call,
    ) -> Result<Answering, CallError> {
        match timeout(call.time_left(), self.ask(to, peer, call)).await {
            Ok(answer) => answer,
            Err(_) => {
                let late = "no answer before the deadline";
                Err(CallError::new(ErrorKind::Timeout.into(), late))
            }
        }
    }

    /// Sends a request, again where it is not answered and that is safe, and waits.
    async fn ask(
        &self,
        to: To<'_>,
        peer: Option<Peer<'_>>,
        call: &Call,
    ) -> Result<Answering, CallError> {
        let up = self.up().await?;
        if up.outlet.is_blocked() {
            return Err(lost(FULL).not_run());
        }
        let request = self.request(call, &up.queue)?;
        let id = request.message_id.clone();
        let (tell, told) = oneshot::channel();
        let queue = match to {
            To::Queue(queue) if peer.is_some_and(|peer| peer.fact(CANCELS) == "true") => {
                Some(queue)
            }
            _ => None,
        };
        let mut waiting = Waiting { id: &id, caller: self, tells: queue };
        self.shared.lock().insert(id.clone(), tell);
        let (mut told, mut sent_once) = (pin!(told), false);
        for wait in self.options.sending.waits(call, peer) {
            let sent = up.deliver(to, &request, &call.payload).await;
            match sent.map_err(|error| lost(error.message()))? {
                Delivered::Queued if call.oneway => return Ok(Answering::of_none()),
                Delivered::Queued => {}
                Delivered::Returned => {
                    waiting.tells = None; // There is nobody to be told.
                    return Err(nobody(to, sent_once));
                }
            }
            sent_once = true;
            // The last one's end is the call's.
            if let Ok(answered) = timeout(wait, &mut told).await {
                waiting.tells = None;
                return self.read(answered);
            }
        }
        let answered = told.await;
        waiting.tells = None;
        self.read(answered)
    }

    fn read(
        &self,
        answered: Result<Answered, oneshot::error::RecvError>,
    ) -> Result<Answering, CallError> {
        let Answered(answer, body, instance) =
            answered.map_err(|_| lost("the connection was lost"))?;
        let reply = read(answer, body, self.options.max_message)?;
        Ok(Answering { reply, instance })
    }

    /// A connection that works, or why there is none. While there is none, a call is
    /// the reason to try again at once.
    async fn up(&self) -> Result<Arc<Up>, CallError> {
        let mut link = self.link.clone();
        let mut is_tried = false;
        loop {
            match &*link.borrow_and_update() {
                Link::Up(up) => return Ok(Arc::clone(up)),
                Link::Connecting => {}
                Link::Down if is_tried => break,
                Link::Down => {
                    is_tried = true;
                    self.shared.wanted.notify_one();
                }
            }
            if link.changed().await.is_err() {
                break;
            }
        }
        Err(lost("the broker cannot be reached").not_run())
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
        let (mut facts, headers) = Facts::split(&call.headers);
        if facts.from.is_empty() {
            facts.from.clone_from(&self.options.from);
        }
        Ok(Request {
            message_id: uuid::Uuid::new_v4().to_string(),
            reply_to: reply_to.to_owned(),
            service: call.service.to_string(),
            endpoint: call.method.clone(),
            facts,
            timeout: Some(call.time_left()),
            headers,
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
        let to = match self.options.sending {
            Sending::Classic => To::Service,
            Sending::Once | Sending::Safely => To::Queue(queue),
        };
        self.within(to, Some(peer), &call).await.map(|answering| answering.reply)
    }
}

/// A call that waits. Dropped before its answer came, it is given up, and an
/// instance that understands this is told.
struct Waiting<'a> {
    id: &'a str,
    caller: &'a AmqpCaller,
    /// The instance that has to be told when this is dropped.
    tells: Option<&'a str>,
}

impl Answering {
    /// Of a call that nobody answers.
    fn of_none() -> Self {
        Self { reply: Reply::default(), instance: String::new() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.caller.shared.lock().remove(self.id);
        if let Some(queue) = self.tells {
            let _ = self.caller.cancels.send((queue.to_owned(), self.id.to_owned()));
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
            let from = delivery.properties.reply_to().as_ref();
            let from = from.map_or(String::new(), |from| from.as_str().to_owned());
            // It may have given up.
            let _ = tell.send(Answered(answer, delivery.data.into(), from));
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
                    sleep(FIRST_REST).await;
                    let _ = timeout(rest, self.shared.wanted.notified()).await; // Or it is time.
                    rest = (rest * 2).min(MOST_REST);
                }
            }
            self.tell.send_replace(Link::Connecting);
        }
    }

    async fn read(&mut self, mut bus: Bus, queue: String, lost: bool) {
        let outlet = bus.outlet();
        let up = Arc::new(Up {
            outlet: outlet.clone(),
            queue,
            connection: Arc::clone(bus.connection()),
            exchanges: OnceCell::new(),
            recovering: AtomicBool::new(lost),
        });
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

/// What was returned: nobody reads it. Whoever was sent it before may have run it.
fn nobody(to: To<'_>, sent_before: bool) -> CallError {
    let error = match to {
        To::Queue(_) => CallError::new(ErrorKind::Unavailable.into(), "there is no such queue"),
        To::Service if sent_before => lost("no instance is bound any more"),
        To::Service => CallError::new(CallErrorKind::NoInstance, "no instance is bound"),
    };
    if sent_before { error } else { error.not_run() }
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
