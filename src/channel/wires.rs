//! Several wires as one.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::Address;
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Peer, Reply};

/// Calls every instance over the first wire that speaks one of its addresses.
#[derive(Clone, Debug, Default)]
pub struct Wires(Vec<Arc<dyn Caller>>);

impl Wires {
    /// These wires, the preferred one first.
    pub fn new(wires: impl IntoIterator<Item = Arc<dyn Caller>>) -> Self {
        Self(wires.into_iter().collect())
    }

    fn of(&self, address: &Address) -> Option<&Arc<dyn Caller>> {
        self.0.iter().find(|wire| wire.speaks(address))
    }
}

#[async_trait]
impl Caller for Wires {
    fn speaks(&self, address: &Address) -> bool {
        self.of(address).is_some()
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let Some(wire) = self.of(peer.address) else {
            let reason = format!("no wire for {} is compiled in", peer.address);
            return Err(CallError::new(CallErrorKind::NoInstance, reason));
        };
        wire.call(peer, call).await
    }
}
