//! The registry on a thread of its own, asked over real sockets: for cases that
//! block their own runtime.

use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::Handles;
use portolan::{Clock, Namespace, Registry, Result};
use tokio::sync::oneshot;

use super::{Carrier, Registries};

/// Ends the thread when dropped.
pub(crate) struct Elsewhere {
    carrier: Arc<dyn Carrier>,
    place: String,
    clock: Arc<dyn Clock>,
    _ends: oneshot::Sender<()>,
}

impl Elsewhere {
    pub(crate) fn serve(
        carrier: Arc<dyn Carrier>,
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (ends, ended) = oneshot::channel::<()>();
        let serving = Arc::clone(&carrier);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let registries = Registries::open(vec![(Namespace::default(), registry)]);
                let (place, _serving) = serving.listen(registries).await;
                tell.send(place).expect("it is waited for");
                let _ = ended.await;
            });
        });
        let place = told.recv().expect("it serves");
        Self { carrier, place, clock, _ends: ends }
    }
}

#[async_trait]
impl Handles for Elsewhere {
    async fn open(&self) -> Result<Arc<dyn Registry>> {
        self.carrier.open(&self.place, Arc::clone(&self.clock)).await
    }
}
