//! Calls that leave no process.

use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::calls::{Need, Wire, WireWorld};
use conformance_tests::{Absent, Failure};
use portolan::call::{Caller, Handler, Host};
use portolan::{Address, InProcess, ServiceName};

/// `portolan::InProcess`.
#[derive(Debug)]
pub(crate) struct InProcessWire;

struct InProcessWorld(InProcess);

#[async_trait]
impl Wire for InProcessWire {
    fn name(&self) -> &str {
        "in-process"
    }

    fn has(&self, need: Need) -> bool {
        need == Need::Headers
    }

    async fn open(&self) -> Result<Box<dyn WireWorld>, Absent> {
        Ok(Box::new(InProcessWorld(InProcess::new())))
    }
}

#[async_trait]
impl WireWorld for InProcessWorld {
    async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> Result<Box<dyn Host>, Failure> {
        let address = Address::parse(&format!("tcp://{service}.in.process:1"))?;
        Ok(Box::new(self.0.serve(service, address, handler, max_inflight)))
    }

    fn caller(&self) -> Arc<dyn Caller> {
        Arc::new(self.0.clone())
    }

    async fn cut(&self) {}

    async fn other_versions(&self, _: &dyn Host) -> Result<(), Failure> {
        Err(Failure::absent("both ends are of one version"))
    }
}
