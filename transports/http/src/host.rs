//! The serving side: connections, limits and the end of a call. What stands in an answer
//! is `message`'s; who may call is the handler's guard's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Host, Reply};
use registry_api::{Address, ErrorKind, Offer, ServiceName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::{MAX_MESSAGE, message};

/// How a host behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// A connection on which no request comes for this long is closed.
    pub idle: Duration,
    /// A body that takes longer than this to arrive is refused.
    pub stuck: Duration,
    /// The most connections at a time; more wait in the listener's queue.
    pub connections: usize,
    /// The most calls at a time; more are answered as `Overloaded`.
    pub max_inflight: usize,
    /// How long a call may take whose caller does not say how long it waits.
    pub timeout: Duration,
    /// The largest message that is taken or sent, in bytes.
    pub max_message: usize,
    /// How long calls in flight may take after [`Host::close`].
    pub drain: Duration,
}

impl Default for HostOptions {
    /// 60 s idle, 10 s stuck, 10,000 connections, 4,096 calls of 60 s, messages of 1 MiB, 10 s
    /// to drain.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            stuck: Duration::from_secs(10),
            connections: 10_000,
            max_inflight: 4_096,
            timeout: Duration::from_secs(60),
            max_message: MAX_MESSAGE,
            drain: Duration::from_secs(10),
        }
    }
}

impl HostOptions {
    /// Sets the most calls at a time.
    #[must_use]
    pub fn with_max_inflight(mut self, calls: usize) -> Self {
        self.max_inflight = calls;
        self
    }

    /// Sets the largest message, in bytes.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }
}

/// An HTTP/1.1 server for one service. Dropping it ends it at once;
/// [`close`](Host::close) lets calls in flight finish.
#[derive(Debug)]
pub struct HttpHost {
    offer: Offer,
    is_guarded: bool,
    local: SocketAddr,
    closing: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

impl HttpHost {
    /// Serves `handler` at `address`. Port 0 takes a free one.
    ///
    /// A handler that panics fails its own call only.
    pub async fn serve(
        service: ServiceName,
        address: SocketAddr,
        handler: Arc<dyn Handler>,
        options: HostOptions,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let reachable = Address::host("http", &local.ip().to_string(), local.port());
        let offer = Offer::new(service.clone(), reachable.map_err(io::Error::other)?);
        let closing = watch::Sender::new(false);
        let is_guarded = handler.is_guarded();
        let calls = Semaphore::new(options.max_inflight);
        let server = Arc::new(Server { service, handler, options, calls });
        let task = tokio::spawn(server.run(listener, closing.subscribe()));
        let abort = task.abort_handle();
        let task = tokio::sync::Mutex::new(Some(task));
        Ok(Self { offer, is_guarded, local, closing, task, abort })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[async_trait]
impl Host for HttpHost {
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

impl Drop for HttpHost {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// What all connections of a host share.
struct Server {
    service: ServiceName,
    handler: Arc<dyn Handler>,
    options: HostOptions,
    calls: Semaphore,
}

/// After a failed accept: out of descriptors, most likely, and some will be closed.
const REST: Duration = Duration::from_millis(50);

impl Server {
    async fn run(self: Arc<Self>, listener: TcpListener, mut closing: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < self.options.connections;
            tokio::select! {
                () = closed(&mut closing) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, _)) => {
                        let (server, closing) = (Arc::clone(&self), closing.clone());
                        connections.spawn(server.connection(stream, closing));
                    }
                    Err(_) => sleep(REST).await,
                },
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(self.options.drain, ended).await; // What is left ends with the set.
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut closing: watch::Receiver<bool>) {
        let _ = stream.set_nodelay(true); // It is only slower without.
        let answer = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.options.idle);
        let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), answer));
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = closed(&mut closing) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let call = match self.read(request).await {
            Ok(call) => call,
            Err(error) => return message::to_response(Err(error)),
        };
        if call.oneway {
            // Ends with the call's own deadline.
            tokio::spawn(async move { self.run_call(call).await });
            return message::accepted();
        }
        message::to_response(self.run_call(call).await)
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Call, CallError> {
        let (head, body) = request.into_parts();
        let mut call = message::to_call(&head, &self.service)?;
        let refused = |reason: String| CallError::new(ErrorKind::InvalidArgument.into(), reason);
        let too_large = || refused(format!("more than {} bytes", self.options.max_message));
        // Before anything is kept of it.
        if body.size_hint().lower() > self.options.max_message as u64 {
            return Err(too_large());
        }
        let body = Limited::new(body, self.options.max_message).collect();
        let body = timeout(self.options.stuck, body).await;
        let body = body.map_err(|_| refused("the body does not arrive".to_owned()))?;
        call.payload = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(_) => return Err(refused("the body did not arrive whole".to_owned())),
        };
        Ok(call)
    }

    async fn run_call(&self, mut call: Call) -> Result<Reply, CallError> {
        let full = || {
            let reason = "too many calls to this instance are in flight";
            CallError::new(ErrorKind::Overloaded.into(), reason)
        };
        let _slot = self.calls.try_acquire().map_err(|_| full())?;
        let within = *call.timeout.get_or_insert(self.options.timeout);
        let framework = |reason| CallError::new(CallErrorKind::Framework, reason);
        let answering = AssertUnwindSafe(self.handler.handle(call)).catch_unwind();
        let late = || CallError::new(ErrorKind::Timeout.into(), "no answer before the deadline");
        let answer = timeout(within, answering).await.map_err(|_| late())?;
        let reply = answer.map_err(|_| framework("the handler of the call panicked"))??;
        match reply.payload.len() > self.options.max_message {
            true => Err(framework("the answer is too large")),
            false => Ok(reply),
        }
    }
}

/// Returns once the host closes, or is gone.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}
