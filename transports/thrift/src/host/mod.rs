//! The serving side: answers every framing on one port.

mod accept;
mod asked;
mod connection;
mod json_handler;
mod running;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::call::{Handler, Host};
use registry_api::{Address, Offer, ServiceName};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;

pub use self::accept::Accept;
use self::accept::Tcp;
use self::connection::Connection;
pub use self::json_handler::{JsonError, JsonHandler};
use crate::{MAX_MESSAGE, manner};

/// How a host behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// A connection that sends nothing for this long is closed.
    pub idle: Duration,
    /// A connection that is stuck for this long in the middle of a message, or
    /// of an answer that its peer does not read, is closed.
    pub stuck: Duration,
    /// The most connections at a time; more wait in the listener's queue.
    pub connections: usize,
    /// The most calls at a time; more are answered as `Overloaded`.
    pub max_inflight: usize,
    /// How long a call may take whose caller does not say how long it waits.
    pub timeout: Duration,
    /// The largest message that is taken or sent, in bytes.
    pub max_message: usize,
    /// The largest message of a connection on which no call has succeeded yet:
    /// less than [`max_message`](Self::max_message) where calls prove who asks.
    pub max_unproven: usize,
    /// How long calls in flight may take after [`Host::close`].
    pub drain: Duration,
}

impl Default for HostOptions {
    /// 60 s idle, 10 s stuck, 10,000 connections, 4,096 calls of 60 s, messages of 1 MiB from
    /// the first, 10 s to drain.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            stuck: Duration::from_secs(10),
            connections: 10_000,
            max_inflight: 4_096,
            timeout: Duration::from_secs(60),
            max_message: MAX_MESSAGE,
            max_unproven: MAX_MESSAGE,
            drain: Duration::from_secs(10),
        }
    }
}

impl HostOptions {
    /// Sets how long a connection may be idle, and stuck.
    #[must_use]
    pub fn with_patience(mut self, idle: Duration, stuck: Duration) -> Self {
        (self.idle, self.stuck) = (idle, stuck);
        self
    }

    /// Sets the most calls at a time.
    #[must_use]
    pub fn with_max_inflight(mut self, calls: usize) -> Self {
        self.max_inflight = calls;
        self
    }

    /// Sets the largest message, and the largest before a call has succeeded.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize, unproven: usize) -> Self {
        (self.max_message, self.max_unproven) = (bytes, unproven);
        self
    }
}

/// A Thrift server for one service. Dropping it ends it at once;
/// [`close`](Host::close) lets calls in flight finish.
#[derive(Debug)]
pub struct ThriftHost {
    offer: Offer,
    is_guarded: bool,
    local: Option<SocketAddr>,
    closing: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

impl ThriftHost {
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
        let reachable = Address::host("thrift", &local.ip().to_string(), local.port());
        let reachable = reachable.map_err(io::Error::other)?;
        let mut host = Self::serve_on(service, Tcp(listener), reachable, handler, options);
        host.local = Some(local);
        Ok(host)
    }

    /// Serves `handler` on connections of another kind, offered at `address`.
    pub fn serve_on(
        service: ServiceName,
        connections: impl Accept,
        address: Address,
        handler: Arc<dyn Handler>,
        options: HostOptions,
    ) -> Self {
        let closing = watch::Sender::new(false);
        let offer = Offer::new(service.clone(), address).with_metadata(manner::of_our_host());
        let is_guarded = handler.is_guarded();
        let server = Arc::new(Server {
            service,
            handler,
            options,
            closing: closing.subscribe(),
            inflight: AtomicUsize::new(0),
        });
        let task = tokio::spawn(server.run(connections));
        Self {
            offer,
            is_guarded,
            local: None,
            closing,
            abort: task.abort_handle(),
            task: tokio::sync::Mutex::new(Some(task)),
        }
    }

    /// The address it listens on; `None` for connections of another kind.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }
}

#[async_trait]
impl Host for ThriftHost {
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

impl Drop for ThriftHost {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// What all connections of a host share.
struct Server {
    service: ServiceName,
    handler: Arc<dyn Handler>,
    options: HostOptions,
    closing: watch::Receiver<bool>,
    inflight: AtomicUsize,
}

impl Server {
    async fn run(self: Arc<Self>, mut accept: impl Accept) {
        let mut closing = self.closing.clone();
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < self.options.connections;
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                stream = accept.accept(), if room => match stream {
                    Some(stream) => {
                        connections.spawn(Connection::new(Arc::clone(&self), stream).run());
                    }
                    None => break,
                },
            }
        }
        drop(accept);
        let ended = async { while connections.join_next().await.is_some() {} };
        let is_closing = *closing.borrow();
        match is_closing {
            true => drop(timeout(self.options.drain, ended).await), // What is left ends with the set.
            false => ended.await,
        }
    }
}
