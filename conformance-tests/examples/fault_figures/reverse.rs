//! A gateway that services open their connections to.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portolan::access::Credential;
use portolan::call::{CallError, CallErrorKind, Handler, Reply};
use portolan::grpc::{
    Dispatch, Incoming, Presence, Reception, ReverseCaller, ReverseOptions, ReverseServer,
    ReverseService, Security, Switchboard, SwitchboardOptions, channel,
};
use portolan::{InstanceSpec, Offer, Result, ServiceName};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Connections, and where they can be opened.
pub(crate) struct Gateway {
    switchboard: Switchboard,
    address: String,
    /// Who connected, in order.
    joined: Mutex<mpsc::UnboundedReceiver<InstanceSpec>>,
    _server: JoinSet<()>,
}

/// Lets everybody in, and says who came.
#[derive(Debug)]
struct Door(mpsc::UnboundedSender<InstanceSpec>);

#[derive(Debug)]
struct Present;

#[derive(Debug)]
struct Nobody;

impl Gateway {
    pub(crate) async fn start() -> std::result::Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let (came, joined) = mpsc::unbounded_channel();
        let switchboard = Switchboard::new("gateway", SwitchboardOptions::default());
        let service = ReverseService::new(&switchboard, Arc::new(Door(came)), Arc::new(Nobody));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(text)?;
        let address = listener.local_addr().map_err(text)?.to_string();
        let serving = Server::builder().add_service(service);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            serving.serve_with_incoming(incoming).await.expect("it serves");
        });
        Ok(Self { switchboard, address, joined: Mutex::new(joined), _server: server })
    }

    pub(crate) fn caller(&self) -> ReverseCaller {
        ReverseCaller::new(self.switchboard.clone())
    }

    /// A service behind a connection of its own, and where it is called.
    pub(crate) async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
    ) -> std::result::Result<(ReverseServer, Vec<Offer>), String> {
        let gateway = channel(&self.address, &Security::Plaintext);
        let gateway = gateway.map_err(|error| error.to_string())?;
        let options = ReverseOptions::default();
        let server = ReverseServer::start(vec![service], vec![gateway], handler, options);
        let joined = async { self.joined.lock().await.recv().await };
        let joined = tokio::time::timeout(Duration::from_secs(10), joined).await;
        let spec = joined.ok().flatten().ok_or("the service does not connect")?;
        Ok((server, spec.offers.to_vec()))
    }
}

#[async_trait]
impl Reception for Door {
    async fn admit(&self, _: &Credential, _: &InstanceSpec) -> Result<()> {
        Ok(())
    }

    async fn may_stay(&self, _: &Credential, _: &[ServiceName]) -> Result<()> {
        Ok(())
    }

    async fn join(&self, spec: InstanceSpec) -> Box<dyn Presence> {
        let _ = self.0.send(spec); // Nobody waits for it any more.
        Box::new(Present)
    }

    async fn register(&self, _: &Credential, _: InstanceSpec) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Presence for Present {
    async fn superseded(&mut self) {
        std::future::pending().await
    }
}

#[async_trait]
impl Dispatch for Nobody {
    async fn dispatch(&self, _: Incoming) -> std::result::Result<Reply, CallError> {
        Err(CallError::new(CallErrorKind::NoInstance, "nobody calls up the stream here"))
    }
}
