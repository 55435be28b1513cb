//! The registry's own gRPC service.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::{Absent, Link};
use futures_util::stream;
use hyper_util::rt::TokioIo;
use portolan::access::{Credential, Desk};
use portolan::grpc::{GrpcRegistry, RegistryService, RemoteOptions};
use portolan::{Clock, Namespace, Registry, Result};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use super::pipes::Pipes;
use super::{Carrier, Registries, Served};

#[derive(Debug)]
pub(crate) struct Grpc;

struct Serving {
    pipes: Pipes,
    _server: JoinSet<()>,
}

fn service(registries: Registries) -> RegistryService {
    let desk = Desk::new(registries.access);
    let spaces = registries.spaces.into_iter();
    let desk = spaces.fold(desk, |desk, (name, registry)| desk.with_namespace(name, registry));
    RegistryService::new(Arc::new(desk))
}

async fn open(
    channel: Channel,
    namespace: &Namespace,
    credential: Credential,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Registry>> {
    let options = RemoteOptions::default().with_namespace(namespace.clone());
    let options = options.with_credential(credential);
    GrpcRegistry::open(channel, options, clock).await
}

#[async_trait]
impl Carrier for Grpc {
    async fn serve(&self, registries: Registries, link: Link) -> Result<Box<dyn Served>, Absent> {
        let (pipes, listener) = Pipes::new(link);
        let incoming = stream::unfold(listener, |mut listener| async {
            Some((Ok::<_, io::Error>(listener.recv().await?), listener))
        });
        let serving = Server::builder().add_service(service(registries));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = serving.serve_with_incoming(incoming).await; // Ends with the pipes.
        });
        Ok(Box::new(Serving { pipes, _server: server }))
    }

    async fn listen(&self, registries: Registries) -> (String, Box<dyn Send>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = Server::builder().add_service(service(registries));
        let mut server = JoinSet::new();
        server.spawn(async move {
            serving.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves");
        });
        (address.to_string(), Box::new(server))
    }

    async fn open(&self, at: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
        let endpoint = Endpoint::from_shared(format!("http://{at}")).expect("an endpoint");
        open(endpoint.connect_lazy(), &Namespace::default(), Credential::none(), clock).await
    }
}

#[async_trait]
impl Served for Serving {
    async fn open(
        &self,
        namespace: &Namespace,
        credential: Credential,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>> {
        let pipes = self.pipes.clone();
        let connect = tower::service_fn(move |_| {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let connected = pipes.connect().map(TokioIo::new).ok_or_else(refused);
            async move { connected }
        });
        let endpoint = Endpoint::from_static("http://registry");
        open(endpoint.connect_with_connector_lazy(connect), namespace, credential, clock).await
    }
}
