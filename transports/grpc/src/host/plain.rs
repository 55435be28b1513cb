//! Ordinary `tonic` services at a port, as a host.

use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::call::{Guard, Host};
use registry_api::{Address, Offer, ServiceName};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::guarded::Guarding;

/// `tonic` services that are dialled, at `grpc://host:port`. Dropping it ends it at once;
/// [`close`](Host::close) lets calls in flight finish.
pub struct GrpcHost {
    services: Vec<ServiceName>,
    is_guarded: bool,
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
        Self::serve_to(None, services, address, routes).await
    }

    /// [`serve`](Self::serve) to those whom `guard` lets in; a service finds who calls in
    /// the extensions of its request, as an `Arc<Identity>`.
    pub async fn serve_guarded(
        guard: Arc<dyn Guard>,
        services: Vec<ServiceName>,
        address: SocketAddr,
        routes: Routes,
    ) -> io::Result<Self> {
        Self::serve_to(Some(guard), services, address, routes).await
    }

    async fn serve_to(
        guard: Option<Arc<dyn Guard>>,
        services: Vec<ServiceName>,
        address: SocketAddr,
        routes: Routes,
    ) -> io::Result<Self> {
        let is_guarded = guard.is_some();
        let guarding = Guarding { services: services.clone().into(), guard };
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let reachable = Address::host("grpc", &local.ip().to_string(), local.port());
        let address = reachable.map_err(io::Error::other)?;
        let (closing, mut closed) = watch::channel(false);
        let serving =
            Server::builder().layer(guarding).add_routes(routes).serve_with_incoming_shutdown(
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
        Ok(Self { services, is_guarded, address, local, closing, task, abort })
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

    fn is_guarded(&self) -> bool {
        self.is_guarded
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
