//! The listener.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use registry_api::Phase;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::Status;
use super::page::Asked;
use crate::client::Client;
use crate::service::{Operator, Order};

/// Says how a service is, over HTTP/1. Ends when dropped, so that it answers as long as
/// anything else of the process does.
pub struct StatusServer {
    status: Status,
    address: SocketAddr,
    task: AbortHandle,
}

/// The most connections at a time; more wait.
const CONNECTIONS: usize = 64;
/// A head that takes longer to arrive is not waited for.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

impl StatusServer {
    /// Serves at `address`. Port 0 takes a free one.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: it has a task.
    pub fn listen(address: SocketAddr, status: Status) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(run(listener, status.clone())).abort_handle();
        Ok(Self { status, address, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl Operator for StatusServer {
    fn tags(&self) -> Vec<(String, String)> {
        vec![("status".to_owned(), format!("http://{}", self.address))]
    }

    fn joined(&self, client: &Client) {
        self.status.joined(client);
    }

    fn sees(&self, phase: Phase) {
        self.status.sees(phase);
    }

    async fn ordered(&self, least: Order) {
        self.status.ordered(least).await;
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(listener: TcpListener, status: Status) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS;
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, remote)) => {
                    connections.spawn(serve(stream, remote, status.clone()));
                }
                // Out of descriptors, most likely: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, remote: SocketAddr, status: Status) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = answer(&status, remote, &request);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "a connection to the status server ended");
    }
}

fn answer(
    status: &Status,
    remote: SocketAddr,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let token = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    // A page that a browser on this machine shows is not its operator.
    let of_a_page = ["origin", "sec-fetch-site"].iter().any(|name| headers.contains_key(*name));
    let told = status.answer(&Asked {
        method: request.method(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        may_order: may_order(status.0.token.as_deref(), remote, token)
            && (token.is_some() || !of_a_page),
    });
    let mut response = Response::new(Full::new(Bytes::from(told.body)));
    *response.status_mut() = told.status;
    let kind = header::HeaderValue::from_static(told.kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Who is on this machine may, unless there is a token: a proxy may be there too. Whoever
/// shows the token may.
fn may_order(token: Option<&str>, remote: SocketAddr, shown: Option<&[u8]>) -> bool {
    use sha2::{Digest, Sha256};

    let Some(token) = token else { return remote.ip().to_canonical().is_loopback() };
    let shown = shown.and_then(|shown| shown.strip_prefix(b"Bearer "));
    // Compared as digests, so that how long it takes says nothing.
    shown.is_some_and(|shown| Sha256::digest(shown) == Sha256::digest(token))
}

impl Debug for StatusServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusServer").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_everybody() {
        let near: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:1".parse().unwrap();
        let far: SocketAddr = "10.0.0.7:1".parse().unwrap();
        assert!(may_order(None, near, None) && may_order(None, mapped, None));
        assert!(!may_order(None, far, None) && !may_order(None, far, Some(b"Bearer x")));
        assert!(may_order(Some("x"), far, Some(b"Bearer x")));
        for shown in [None, Some(&b"Bearer y"[..]), Some(b"x"), Some(b"Bearer ")] {
            assert!(!may_order(Some("x"), near, shown), "{shown:?}");
        }
    }
}
