//! Connections to instances, as far as a policy allows them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use registry_api::AddressPolicy;
use tokio::net::{TcpStream, lookup_host};
use tower_service::Service;

/// Dials what its policy lets it, once a name is resolved.
#[derive(Clone, Debug)]
pub(crate) struct Dial(pub(crate) AddressPolicy);

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = self.0.clone();
        Box::pin(async move {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the address names no host");
            let (host, port) = (uri.host().ok_or_else(none)?, uri.port_u16().unwrap_or(80));
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let mut refused = none();
            for ip in lookup_host((host, port)).await? {
                match dial(&policy, ip).await {
                    Ok(stream) => return Ok(TokioIo::new(stream)),
                    Err(error) => refused = error,
                }
            }
            Err(refused)
        })
    }
}

async fn dial(policy: &AddressPolicy, ip: SocketAddr) -> io::Result<TcpStream> {
    policy.check(ip).map_err(|refusal| {
        let reason = format!("the instance's address {refusal}");
        io::Error::new(io::ErrorKind::PermissionDenied, reason)
    })?;
    let stream = TcpStream::connect(ip).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
