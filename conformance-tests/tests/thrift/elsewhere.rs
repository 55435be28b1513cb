//! The registry on a thread of its own, asked over real sockets: for cases that
//! block their own runtime.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::Handles;
use portolan::thrift::{RegistryHandler, RemoteOptions, TcpDial, ThriftRegistry};
use portolan::{Address, AddressPolicy, Clock, Namespace, OpenAccess, Registry, Result};
use tokio::sync::oneshot;

/// Ends the thread when dropped.
pub(crate) struct Elsewhere {
    address: Address,
    clock: Arc<dyn Clock>,
    _ends: oneshot::Sender<()>,
}

impl Elsewhere {
    pub(crate) fn serve(registry: Arc<dyn Registry>, clock: Arc<dyn Clock>) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (ends, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let handler = RegistryHandler::new(Arc::new(OpenAccess));
                let handler = handler.with_namespace(Namespace::default(), registry);
                let host = handler.serve((Ipv4Addr::LOCALHOST, 0).into()).await;
                let host = host.expect("a free port");
                tell.send(host.local_addr().expect("an address")).expect("it is waited for");
                let _ = ended.await;
            });
        });
        let address = told.recv().expect("it serves");
        let address = Address::parse(&format!("thrift://{address}")).expect("an address");
        Self { address, clock, _ends: ends }
    }
}

#[async_trait]
impl Handles for Elsewhere {
    async fn open(&self) -> Result<Arc<dyn Registry>> {
        let dial = TcpDial::new(AddressPolicy::new().allow_loopback(true));
        let options = RemoteOptions::new(self.address.clone());
        ThriftRegistry::open(Arc::new(dial), options, Arc::clone(&self.clock)).await
    }
}
