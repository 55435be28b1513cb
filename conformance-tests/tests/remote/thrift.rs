//! The registry's own Thrift service.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::{Absent, Link};
use portolan::access::Credential;
use portolan::call::{CallError, Handler};
use portolan::thrift::{
    Accept, Dial, RegistryHandler, RemoteOptions, Stream, TcpDial, ThriftHost, ThriftRegistry,
};
use portolan::{Address, AddressPolicy, Clock, ErrorKind, Namespace, Registry, Result};

use super::pipes::{Listener, Pipes};
use super::{Carrier, Registries, Served};

#[derive(Debug)]
pub(crate) struct Thrift;

struct Dialled(Pipes);

struct Accepted(Listener);

struct Serving {
    pipes: Pipes,
    _host: ThriftHost,
}

impl std::fmt::Debug for Dialled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialled")
    }
}

#[async_trait]
impl Dial for Dialled {
    async fn dial(&self, _: &Address) -> Result<Box<dyn Stream>, CallError> {
        let refused = || CallError::new(ErrorKind::Unavailable.into(), "nobody listens");
        Ok(Box::new(self.0.connect().ok_or_else(refused)?))
    }
}

#[async_trait]
impl Accept for Accepted {
    async fn accept(&mut self) -> Option<Box<dyn Stream>> {
        Some(Box::new(self.0.recv().await?))
    }
}

fn address() -> Address {
    Address::parse("thrift://registry:1").expect("an address")
}

pub(super) fn handler(registries: Registries) -> RegistryHandler {
    let handler = RegistryHandler::new(registries.access);
    let spaces = registries.spaces.into_iter();
    spaces.fold(handler, |handler, (name, registry)| handler.with_namespace(name, registry))
}

#[async_trait]
impl Carrier for Thrift {
    async fn serve(&self, registries: Registries, link: Link) -> Result<Box<dyn Served>, Absent> {
        let (pipes, listener) = Pipes::new(link);
        let handler: Arc<dyn Handler> = Arc::new(handler(registries));
        let (service, options) = (RegistryHandler::service(), RegistryHandler::host_options());
        let host = ThriftHost::serve_on(service, Accepted(listener), address(), handler, options);
        Ok(Box::new(Serving { pipes, _host: host }))
    }

    async fn listen(&self, registries: Registries) -> (String, Box<dyn Send>) {
        let host = handler(registries).serve((Ipv4Addr::LOCALHOST, 0).into()).await;
        let host = host.expect("a free port");
        (host.local_addr().expect("an address").to_string(), Box::new(host))
    }

    async fn open(&self, at: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
        let dial = TcpDial::new(AddressPolicy::new().allow_loopback(true));
        let options = RemoteOptions::new(Address::parse(&format!("thrift://{at}"))?);
        ThriftRegistry::open(Arc::new(dial), options, clock).await
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
        let options = RemoteOptions::new(address()).with_namespace(namespace.clone());
        let options = options.with_credential(credential);
        ThriftRegistry::open(Arc::new(Dialled(self.pipes.clone())), options, clock).await
    }
}
