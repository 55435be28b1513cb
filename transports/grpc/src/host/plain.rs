//! Ordinary `tonic` services at a port, as a host.

use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::call::Host;
use registry_api::{Address, Offer, ServiceName};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// `tonic` services that are dialled, at `grpc://host:port`. Dropping it ends it at once;
/// [`close`](Host::close) lets calls in flight finish.
pub struct GrpcHost {
    services: Vec<ServiceName>,
    address: Address,
    local: SocketAddr,
    closing: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

/// How long calls in flight may take after a close.
const DRAIN: Duration = Duration::from_secs(10);

impl GrpcHost {
    /// Serves `routes`, which are these services, at `address`. Port 0 takes a free one.
    pub async fn serve(
        services: Vec<ServiceName>,
        address: SocketAddr,
        routes: Routes,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let reachable = Address::host("grpc", &local.ip().to_string(), local.port());
        let address = reachable.map_err(io::Error::other)?;
        let (closing, mut closed) = watch::channel(false);
        let serving = Server::builder().add_routes(routes).serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move {
                let _ = closed.wait_for(|closed| *closed).await; // Gone is closed too.
            },
        );
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::warn!(%error, "a server of gRPC ended");
            }
        });
        let abort = task.abort_handle();
        let task = tokio::sync::Mutex::new(Some(task));
        Ok(Self { services, address, local, closing, task, abort })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[async_trait]
impl Host for GrpcHost {
    fn offers(&self) -> Vec<Offer> {
        let offer = |service: &ServiceName| Offer::new(service.clone(), self.address.clone());
        self.services.iter().map(offer).collect()
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        if let Some(task) = self.task.lock().await.take() {
            let _ = timeout(DRAIN, task).await; // What is left ends with us.
        }
    }
}

impl Drop for GrpcHost {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Debug for GrpcHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("GrpcHost");
        shown.field("services", &self.services).field("local", &self.local).finish_non_exhaustive()
    }
}
