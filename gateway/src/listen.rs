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
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// A head that takes longer to arrive is not waited for.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The most connections of one listener; more wait in its queue.
const CONNECTIONS: usize = 10_000;

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
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
        Ok(Self { listener, address })
    }

    pub(crate) fn serve(self, router: Router) -> Serving {
        self.serve_with(TowerToHyperService::new(router))
    }

    /// Serves what is not a router.
    pub(crate) fn serve_with<S>(self, service: S) -> Serving
    where
        S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let closing = watch::Sender::new(false);
        let task = tokio::spawn(run(self.listener, service, closing.subscribe()));
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

async fn run<S>(listener: TcpListener, service: S, mut closing: watch::Receiver<bool>)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.http1().writev(false); // Answers are small: one plain write is the cheapest.
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS;
        let stream = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            stream = accept(&listener), if room => stream,
        };
        let serving = builder.serve_connection(TokioIo::new(stream), service.clone());
        let connection = serving.into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // A client that breaks the protocol or goes away is its own problem.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // Slower without, and still right.
                return stream;
            }
            // Out of descriptors, most likely: some will be closed.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
