//! A listener that serves routes over HTTP/1 and HTTP/2, patiently but not for ever.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// A head that takes longer to arrive is not waited for.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// An HTTP/2 connection that is quiet for so long is asked whether it is there …
const PING: Duration = Duration::from_secs(10);
/// … and is closed after so long without an answer.
const PONG: Duration = Duration::from_secs(10);
/// Room for the bodies of many calls at a time on one stream, and on all of a
/// connection: reverse streams carry a service's whole load.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest frame that is taken.
const FRAME: u32 = 256 << 10;
/// What waits to be written on one stream.
const SEND_BUFFER: usize = 256 << 10;
/// The most connections of one listener; more wait in its queue.
const CONNECTIONS: usize = 10_000;

/// A bound listener that does not answer yet.
pub(crate) struct Listener {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    tls: Option<Secure>,
}

/// What serves one connection.
pub(crate) trait Accepts: Sized {
    /// It came from this address, to this one.
    fn accepted_from(self, _remote: SocketAddr, _local: SocketAddr) -> Self {
        self
    }
}

impl Accepts for TowerToHyperService<Router> {}

/// TLS on a listener.
#[derive(Clone)]
pub(crate) struct Secure {
    pub(crate) acceptor: TlsAcceptor,
    /// Whether connections without it are refused.
    pub(crate) only: bool,
}

/// A listener at work; ends when dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, tls: None })
    }

    pub(crate) fn serve(self, router: Router) -> Serving {
        self.serve_with(TowerToHyperService::new(router))
    }

    /// Serves routes over TLS too, to whoever begins with it; to nobody else if
    /// `tls.only`.
    pub(crate) fn serve_secure(self, router: Router, tls: Option<Secure>) -> Serving {
        self.with_tls(tls).serve(router)
    }

    /// Speaks TLS too, to whoever begins with it.
    pub(crate) fn with_tls(self, tls: Option<Secure>) -> Self {
        Self { tls, ..self }
    }

    /// Serves what is not a router.
    pub(crate) fn serve_with<S>(self, service: S) -> Serving
    where
        S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
        S: Accepts + Clone + Send + 'static,
        S::Future: Send,
    {
        let closing = watch::Sender::new(false);
        let task = tokio::spawn(run(self.listener, self.tls, service, closing.subscribe()));
        Serving { closing, task }
    }
}

impl Serving {
    /// Stops accepting and lets requests in flight finish, at most `patience`.
    pub(crate) async fn drain(mut self, patience: Duration) {
        self.closing.send_replace(true);
        let _ = timeout(patience, &mut self.task).await; // What is left is dropped.
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<S>(
    listener: TcpListener,
    tls: Option<Secure>,
    service: S,
    mut closing: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Accepts + Clone + Send + 'static,
    S::Future: Send,
{
    let graceful = GracefulShutdown::new();
    let builder = builder();
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS;
        let (stream, remote) = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener), if room => accepted,
        };
        let (builder, service) = (builder.clone(), service.clone());
        // A stream that has no end of ours is closed already.
        let service = match stream.local_addr() {
            Ok(local) => service.accepted_from(remote, local),
            Err(_) => continue,
        };
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        connections.spawn(async move {
            // A client that breaks the protocol or goes away is its own problem.
            let ended = match tls {
                Some(tls) => serve_either(&builder, stream, &tls, service, watcher).await,
                None => serve_one(&builder, stream, service, watcher).await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.http1().writev(false); // Answers are small: one plain write is the cheapest.
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PONG);
    http2.initial_stream_window_size(STREAM_WINDOW);
    http2.initial_connection_window_size(CONNECTION_WINDOW);
    http2.max_frame_size(FRAME).max_send_buf_size(SEND_BUFFER);
    builder
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve_one<S, I>(
    builder: &auto::Builder<TokioExecutor>,
    stream: I,
    service: S,
    watcher: Watcher,
) -> Ended
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    watcher.watch(connection).await
}

/// The first byte says whether a client speaks TLS: 22 begins its handshake (RFC
/// 8446, 5.1), and no request of HTTP.
async fn serve_either<S>(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    tls: &Secure,
    service: S,
    watcher: Watcher,
) -> Ended
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
{
    let mut first = [0];
    let read = timeout(HEAD_WITHIN, stream.peek(&mut first)).await??;
    if read == 0 {
        return Ok(());
    }
    match (first[0], tls.only) {
        (22, _) => {
            let stream = timeout(HEAD_WITHIN, tls.acceptor.accept(stream)).await??;
            serve_one(builder, stream, service, watcher).await
        }
        (_, false) => serve_one(builder, stream, service, watcher).await,
        (_, true) => Err("the listener takes connections over TLS only".into()),
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let _ = stream.set_nodelay(true); // Slower without, and still right.
                return (stream, remote);
            }
            // Out of descriptors, most likely: some will be closed.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
