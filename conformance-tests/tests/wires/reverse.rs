//! Calls over the stream that a service opened to a gateway, through a proxy.

mod foreign;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use conformance_tests::calls::{Need, Wire, WireWorld};
use conformance_tests::{Absent, Failure};
use portolan::access::Credential;
use portolan::call::{Call, CallError, CallErrorKind, Caller, Handler, Host, Peer, Reply};
use portolan::grpc::{
    Dispatch, Incoming, Presence, Reception, ReverseCaller, ReverseOptions, ReverseServer,
    ReverseService, Security, Switchboard, SwitchboardOptions, channel,
};
use portolan::{Address, InstanceSpec, Offer, Result, ServiceName};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::proxy::Proxy;

#[derive(Debug)]
pub(crate) struct ReverseWire;

struct ReverseWorld {
    gateway: Arc<Gateway>,
    /// Where the gateway listens, and through what services reach it.
    listening: SocketAddr,
    proxy: Proxy,
    _server: JoinSet<()>,
}

/// Lets everybody in, and remembers who is there.
#[derive(Debug, Default)]
struct Desk {
    present: Arc<Mutex<Vec<InstanceSpec>>>,
}

/// A connection that is there until dropped.
struct Present {
    present: Arc<Mutex<Vec<InstanceSpec>>>,
    spec: InstanceSpec,
}

#[derive(Debug)]
struct Nobody;

/// The caller of a gateway, together with what a registry would know: who is
/// connected now.
#[derive(Debug)]
struct Gateway {
    caller: ReverseCaller,
    desk: Arc<Desk>,
    serving: Mutex<bool>,
}

#[async_trait]
impl Reception for Desk {
    async fn admit(&self, _: &Credential, _: &InstanceSpec) -> Result<()> {
        Ok(())
    }

    async fn may_stay(&self, _: &Credential, _: &[ServiceName]) -> Result<()> {
        Ok(())
    }

    async fn join(&self, spec: InstanceSpec) -> Box<dyn Presence> {
        let present = Arc::clone(&self.present);
        present.lock().unwrap_or_else(PoisonError::into_inner).push(spec.clone());
        Box::new(Present { present, spec })
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

impl Drop for Present {
    fn drop(&mut self) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|spec| spec.id != self.spec.id);
    }
}

#[async_trait]
impl Dispatch for Nobody {
    async fn dispatch(&self, _: Incoming) -> Result<Reply, CallError> {
        Err(CallError::new(CallErrorKind::NoInstance, "nobody calls up the stream here"))
    }
}

impl Desk {
    fn newest(&self) -> Option<InstanceSpec> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    fn newest_of(&self, service: &ServiceName) -> Option<InstanceSpec> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let mut serving = present.iter().rev();
        serving.find(|spec| spec.offers.iter().any(|offer| offer.service == *service)).cloned()
    }

    /// The newest of any service, as soon as there is one.
    async fn soon(&self) -> Option<InstanceSpec> {
        Self::patiently(|| self.newest()).await
    }

    async fn patiently(seen: impl Fn() -> Option<InstanceSpec>) -> Option<InstanceSpec> {
        for _ in 0..200 {
            if let Some(spec) = seen() {
                return Some(spec);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

#[async_trait]
impl Caller for Gateway {
    fn speaks(&self, address: &Address) -> bool {
        self.caller.speaks(address)
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let serving = *self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let any = if serving { self.desk.soon().await } else { None };
        let now = self.desk.newest_of(&call.service).or(any);
        match now.as_ref().and_then(|spec| spec.offers.first()) {
            Some(offer) => self.caller.call(Peer::at(&offer.addresses[0]), call).await,
            None => self.caller.call(peer, call).await,
        }
    }
}

#[async_trait]
impl Wire for ReverseWire {
    fn name(&self) -> &str {
        "grpc/reverse"
    }

    fn has(&self, _: Need) -> bool {
        true
    }

    async fn open(&self) -> Result<Box<dyn WireWorld>, Absent> {
        let absent = |error: std::io::Error| Absent(error.to_string());
        let desk = Arc::new(Desk::default());
        let reception: Arc<Desk> = Arc::clone(&desk);
        let options = SwitchboardOptions::default();
        let switchboard = Switchboard::new("gateway-1", options);
        let service = ReverseService::new(&switchboard, reception, Arc::new(Nobody));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(absent)?;
        let listening = listener.local_addr().map_err(absent)?;
        let serving = Server::builder().add_service(service);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            serving.serve_with_incoming(incoming).await.expect("it serves");
        });
        let proxy = Proxy::start(listening).await.map_err(absent)?;
        let caller = ReverseCaller::new(switchboard);
        let gateway = Arc::new(Gateway { caller, desk, serving: Mutex::new(false) });
        Ok(Box::new(ReverseWorld { gateway, listening, proxy, _server: server }))
    }
}

/// A service, and where it can be called.
#[derive(Debug)]
struct Connected {
    server: ReverseServer,
    offer: Offer,
    gateway: Arc<Gateway>,
}

#[async_trait]
impl Host for Connected {
    fn offers(&self) -> Vec<Offer> {
        vec![self.offer.clone()]
    }

    fn is_guarded(&self) -> bool {
        self.server.is_guarded()
    }

    async fn close(&self) {
        *self.gateway.serving.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.server.close().await;
    }
}

#[async_trait]
impl WireWorld for ReverseWorld {
    async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> Result<Box<dyn Host>, Failure> {
        let gateways = vec![channel(&self.proxy.address.to_string(), &Security::Plaintext)?];
        let options = ReverseOptions::default().with_max_inflight(max_inflight);
        let server = ReverseServer::start(vec![service.clone()], gateways, handler, options);
        server.connected().await;
        let spec = Desk::patiently(|| self.gateway.desk.newest_of(&service)).await;
        let spec = spec.ok_or_else(|| Failure::new("the service does not connect"))?;
        *self.gateway.serving.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let (offer, gateway) = (spec.offers[0].clone(), Arc::clone(&self.gateway));
        Ok(Box::new(Connected { server, offer, gateway }))
    }

    fn caller(&self) -> Arc<dyn Caller> {
        Arc::<Gateway>::clone(&self.gateway)
    }

    async fn cut(&self) {
        self.proxy.cut();
    }

    async fn other_versions(&self, _: &dyn Host) -> Result<(), Failure> {
        foreign::answer_calls(self.listening, &self.gateway.desk, &self.gateway.caller).await
    }
}
