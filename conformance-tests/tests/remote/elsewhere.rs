//! The registry on a thread of its own, asked over real sockets: for cases that
//! block their own runtime.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::Handles;
use portolan::{Clock, Namespace, Registry, Result};
use tokio::sync::oneshot;

use super::Carrier;

/// Ends the thread when dropped.
pub(crate) struct Elsewhere {
    carrier: &'static dyn Carrier,
    address: SocketAddr,
    clock: Arc<dyn Clock>,
    _ends: oneshot::Sender<()>,
}

impl Elsewhere {
    pub(crate) fn serve(
        carrier: &'static dyn Carrier,
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (ends, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let registries = vec![(Namespace::default(), registry)];
                let (address, _serving) = carrier.listen(registries).await;
                tell.send(address).expect("it is waited for");
                let _ = ended.await;
            });
        });
        let address = told.recv().expect("it serves");
        Self { carrier, address, clock, _ends: ends }
    }
}

#[async_trait]
impl Handles for Elsewhere {
    async fn open(&self) -> Result<Arc<dyn Registry>> {
        self.carrier.open(self.address, Arc::clone(&self.clock)).await
    }
}
