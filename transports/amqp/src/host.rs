//! The serving side: an instance of H2, whose id is its queue.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::message::Delivery;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Host, Reply};
use registry_api::{Address, ErrorKind, Metadata, Offer, Result, ServiceName};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::bus::{Broker, Bus, Outlet, patiently};
use crate::content::Content;
use crate::error::{self, ErrorType, PlatformError};
use crate::facts::Facts;
use crate::message::{Answer, Inbound, Request, pong};
use crate::names::{Prefix, check_service, check_topic, is_reply_queue, server_queue};
use crate::once::{Once, Seen};
use crate::reach::{Reach, bind_topic};
use crate::{CANCELS, MAX_MESSAGE, ONCE};

/// How a host behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// What the platform's own names begin with.
    pub prefix: Prefix,
    /// The most calls at a time; more are answered as `Overloaded`.
    pub max_inflight: usize,
    /// How long a call may take whose caller does not say how long it waits.
    pub timeout: Duration,
    /// The largest message that is taken or sent, in bytes.
    pub max_message: usize,
    /// How long calls in flight may take after [`Host::close`].
    pub drain: Duration,
    /// The topics whose publications are handled, as calls that nobody waits for, of
    /// the method that is called as the topic. Others are dropped.
    pub topics: Vec<String>,
}

impl Default for HostOptions {
    /// `com.hailocab`, 1,000 calls of 60 s, messages of 1 MiB, 10 s to drain.
    fn default() -> Self {
        Self {
            prefix: Prefix::default(),
            max_inflight: 1_000,
            timeout: Duration::from_secs(60),
            max_message: MAX_MESSAGE,
            drain: Duration::from_secs(10),
            topics: Vec::new(),
        }
    }
}

impl HostOptions {
    /// Sets what the platform's own names begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets the most calls at a time.
    #[must_use]
    pub fn with_max_inflight(mut self, calls: usize) -> Self {
        self.max_inflight = calls;
        self
    }

    /// Sets the largest message.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets the topics whose publications are handled.
    #[must_use]
    pub fn with_topics(mut self, topics: impl IntoIterator<Item = String>) -> Self {
        self.topics = topics.into_iter().collect();
        self
    }
}

/// An instance of a service at a broker. Dropping it ends it at once;
/// [`close`](Host::close) lets calls in flight finish.
pub struct AmqpHost {
    offer: Offer,
    is_guarded: bool,
    instance: String,
    closing: watch::Sender<bool>,
    pings: watch::Receiver<()>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

impl AmqpHost {
    /// Serves `handler` on a queue of its own; returns when it can be called.
    ///
    /// A request is run at most once, also where its caller sends it again. A
    /// handler that panics fails its own call only.
    ///
    /// Errors: `InvalidArgument` for a name that no queue can have; `Unavailable` where
    /// the broker cannot be used.
    pub async fn serve(
        service: ServiceName,
        broker: Broker,
        handler: Arc<dyn Handler>,
        options: HostOptions,
    ) -> Result<Self> {
        Self::serve_as(server_queue(service.as_str()), service, broker, handler, options).await
    }

    /// [`serve`](Self::serve) as the instance of this id.
    pub(crate) async fn serve_as(
        queue: String,
        service: ServiceName,
        broker: Broker,
        handler: Arc<dyn Handler>,
        options: HostOptions,
    ) -> Result<Self> {
        check_service(service.as_str())?;
        options.topics.iter().try_for_each(|topic| check_topic(topic))?;
        let address = Address::parse(&format!("amqp:{queue}"))?;
        let metadata = Metadata::new([(CANCELS, "true"), (ONCE, "true")])?;
        let offer = Offer::new(service.clone(), address).with_metadata(metadata);
        let mut reach = None;
        let bus = Bus::join(&broker, service.as_str(), &queue, &mut reach).await?;
        let instance = queue.clone();
        let (closing, closed) = watch::channel(false);
        let (pinged, pings) = watch::channel(());
        let capacity = Arc::new(Semaphore::new(options.max_inflight));
        let is_guarded = handler.is_guarded();
        let server = Arc::new(Server { service, queue, handler, options, capacity });
        server.read_topics(&bus).await?;
        let running = Running {
            server,
            broker,
            reach,
            pinged,
            calls: JoinSet::new(),
            published: JoinSet::new(),
            begun: HashMap::new(),
            once: Once::default(),
        };
        let task = tokio::spawn(running.run(bus, closed));
        Ok(Self {
            offer,
            is_guarded,
            instance,
            closing,
            pings,
            abort: task.abort_handle(),
            task: tokio::sync::Mutex::new(Some(task)),
        })
    }
}

impl AmqpHost {
    /// Its id, which is its queue.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Changes whenever somebody asks whether it is there.
    pub(crate) fn pings(&self) -> watch::Receiver<()> {
        self.pings.clone()
    }
}

#[async_trait]
impl Host for AmqpHost {
    fn offers(&self) -> Vec<Offer> {
        vec![self.offer.clone()]
    }

    fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await; // Only cancelled by a drop, which is an end too.
        }
    }
}

impl Drop for AmqpHost {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// What all calls of a host share.
struct Server {
    service: ServiceName,
    queue: String,
    handler: Arc<dyn Handler>,
    options: HostOptions,
    capacity: Arc<Semaphore>,
}

/// The one task of a host.
struct Running {
    server: Arc<Server>,
    broker: Broker,
    /// How the service is reached there.
    reach: Option<Reach>,
    pinged: watch::Sender<()>,
    calls: JoinSet<Done>,
    /// Publications that are being handled.
    published: JoinSet<()>,
    /// Those that can be given up, by message id.
    begun: HashMap<String, AbortHandle>,
    once: Once,
}

/// A call that has ended: what was answered, kept for whoever asks again. One that
/// was given up never gets here: asked again, it stays silent.
struct Done {
    answer: Answer,
    body: Vec<u8>,
}

/// Between two tries to connect.
const REST: Duration = Duration::from_millis(50);

impl Running {
    async fn run(mut self, first: Bus, mut closing: watch::Receiver<bool>) {
        let mut next = Some(first);
        loop {
            let bus = match next.take() {
                Some(bus) => bus,
                None => match self.open().await {
                    Ok(bus) => bus,
                    Err(error) => {
                        tracing::debug!(?error, "no connection to serve on");
                        sleep(REST).await;
                        continue;
                    }
                },
            };
            if self.serve(bus, &mut closing).await {
                return;
            }
        }
    }

    async fn open(&mut self) -> Result<Bus> {
        let Server { queue, service, .. } = &*self.server;
        let bus = Bus::join(&self.broker, service.as_str(), queue, &mut self.reach).await?;
        self.server.read_topics(&bus).await?;
        Ok(bus)
    }

    /// Serves over one connection; whether that was the last one.
    async fn serve(&mut self, mut bus: Bus, closing: &mut watch::Receiver<bool>) -> bool {
        let outlet = bus.outlet();
        loop {
            tokio::select! {
                () = closed(closing) => break,
                Some(done) = self.calls.join_next() => self.ended(done),
                Some(_) = self.published.join_next() => {}
                delivery = bus.next() => match delivery {
                    Some(delivery) => self.take(delivery, &outlet).await,
                    None => return false,
                },
            }
        }
        if let Some(reach) = &self.reach {
            for delivery in bus.leave(self.server.service.as_str(), reach).await {
                self.take(delivery, &outlet).await;
            }
        }
        let ended = async {
            while self.calls.join_next().await.is_some() {}
            while self.published.join_next().await.is_some() {}
        };
        let _ = timeout(self.server.options.drain, ended).await; // What is left ends with us.
        true
    }

    fn ended(&mut self, done: std::result::Result<Done, tokio::task::JoinError>) {
        // One that was given up says nothing.
        if let Ok(Done { answer, body }) = done {
            self.begun.remove(&answer.to);
            let id = answer.to.clone();
            self.once.ended(&id, answer, body);
        }
        if self.begun.len() > 2 * self.calls.len() + 64 {
            self.begun.retain(|_, task| !task.is_finished());
        }
    }

    async fn take(&mut self, delivery: Delivery, outlet: &Outlet) {
        match Inbound::read(&delivery.properties, &delivery.data) {
            Inbound::Ping(to) if is_reply_queue(&to) => {
                self.pinged.send_replace(());
                outlet.send(&to, pong(&self.server.queue), b"PONG").await;
            }
            Inbound::Cancel(id) => {
                if let Some(task) = self.begun.remove(&id) {
                    task.abort();
                    self.once.given_up(&id);
                }
            }
            Inbound::Request(request) if is_reply_queue(&request.reply_to) => {
                self.request(*request, delivery.data, outlet).await;
            }
            // Nobody may send our answers to a queue of another kind.
            Inbound::Ping(to) => tracing::debug!(to, "a ping from nowhere; dropped"),
            Inbound::Answer => tracing::debug!("an answer to an instance; dropped"),
            Inbound::Publication(publication) => self.publication(*publication, delivery.data),
            Inbound::Request(request) => {
                tracing::debug!(to = request.reply_to, "an answer may not go there; dropped");
            }
        }
    }

    async fn request(&mut self, request: Request, body: Vec<u8>, outlet: &Outlet) {
        match self.once.begin(&request.message_id) {
            Seen::Never => {}
            Seen::Running => return, // Its answer goes to whoever sent it first, who is the same.
            Seen::Answered(answer, body) => {
                let properties = answer.properties(&self.server.queue);
                return outlet.send(&request.reply_to, properties, &body).await;
            }
            Seen::Forgotten => {
                tracing::debug!("a request comes again whose answer is not kept; dropped");
                return;
            }
        }
        let (server, outlet) = (Arc::clone(&self.server), outlet.clone());
        let id = request.message_id.clone();
        let task = self.calls.spawn(async move { server.answer(request, body, &outlet).await });
        if !id.is_empty() {
            self.begun.insert(id, task);
        }
    }

    /// Nobody waits: what became of it is only logged.
    fn publication(&mut self, publication: Request, body: Vec<u8>) {
        let server = Arc::clone(&self.server);
        let topic = publication.endpoint.clone();
        if !server.options.topics.contains(&topic) {
            return tracing::debug!(topic, "nobody reads this topic");
        }
        self.published.spawn(async move {
            if let Err(error) = server.outcome(&publication, body).await {
                tracing::warn!(topic, code = error.code, error.description, "a publication failed");
            }
        });
    }
}

/// Returns when the host is closed.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await; // Gone is closed too.
}

impl Server {
    /// Has publications sent to its queue.
    async fn read_topics(&self, bus: &Bus) -> Result<()> {
        for topic in &self.options.topics {
            patiently(bind_topic(bus.connection(), topic, &self.queue)).await?;
        }
        Ok(())
    }

    async fn answer(&self, request: Request, body: Vec<u8>, outlet: &Outlet) -> Done {
        let outcome = self.outcome(&request, body).await;
        let reply_to = request.reply_to;
        // What cannot be read is answered in the encoding that everybody has.
        let content = request.content.unwrap_or_default();
        let (is_error, headers, body) = match outcome {
            // What H2 says about the request is not said back.
            Ok(reply) => (false, Facts::split(&reply.headers).1, reply.payload.to_vec()),
            Err(error) => (true, Vec::new(), error.write(content)),
        };
        let answer = Answer { to: request.message_id, is_error, content: Some(content), headers };
        let properties = answer.properties(&self.queue);
        outlet.send(&reply_to, properties, &body).await;
        Done { answer, body }
    }

    async fn outcome(&self, request: &Request, body: Vec<u8>) -> Result<Reply, PlatformError> {
        let scope = format!("{}.{}", self.service, request.endpoint);
        let told = |error: CallError| error::of(&error, &self.options.prefix, &scope);
        let fails = |kind: CallErrorKind, why: &str| Err(told(CallError::new(kind, why)));
        if request.content.is_none() {
            let why = "neither application/octetstream nor application/json";
            let code = format!("{scope}.unmarshal");
            return Err(PlatformError::new(ErrorType::InternalServerError, code, why));
        }
        if !request.service.is_empty() && request.service != self.service.as_str() {
            return fails(CallErrorKind::WrongInstance, "this instance serves another service");
        }
        if body.len() > self.options.max_message {
            return fails(ErrorKind::InvalidArgument.into(), "the request is too large");
        }
        let Ok(_slot) = self.capacity.try_acquire() else {
            return fails(ErrorKind::Overloaded.into(), "too many calls at a time");
        };
        let call = self.call(request, body);
        let most = call.time_left();
        // A handler that panics fails its own call; what it shares is its own matter.
        let handling = AssertUnwindSafe(self.handler.handle(call)).catch_unwind();
        let reply = match timeout(most, handling).await {
            Ok(Ok(outcome)) => outcome.and_then(Reply::whole).map_err(told)?,
            Ok(Err(_)) => return fails(CallErrorKind::Framework, "the handler panicked"),
            Err(_) => return fails(ErrorKind::Timeout.into(), "the call took too long"),
        };
        if reply.payload.len() > self.options.max_message {
            return fails(CallErrorKind::Framework, "the answer is too large");
        }
        Ok(reply)
    }

    fn call(&self, request: &Request, body: Vec<u8>) -> Call {
        let mut call = Call::new(self.service.clone(), request.endpoint.clone(), body.into());
        call.headers = request.facts.join(&request.message_id, &request.headers);
        if request.content == Some(Content::Json) {
            call.content_type = Content::Json.as_str().to_owned();
        }
        let most = self.options.timeout;
        call.timeout = Some(request.timeout.map_or(most, |asked| asked.min(most)));
        call
    }
}

impl Debug for AmqpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpHost").field("offer", &self.offer).finish_non_exhaustive()
    }
}
