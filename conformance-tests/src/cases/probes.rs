//! What stands for the network where a client looks for lost instances.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portolan::Probe;
use registry_api::Address;

/// Addresses at which nobody listens. Everywhere else somebody does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silent(Arc<Mutex<BTreeSet<Address>>>);

impl Silent {
    /// Whoever listened there has stopped.
    pub(crate) fn add(&self, address: Address) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
    }
}

#[async_trait]
impl Probe for Silent {
    async fn answers(&self, address: &Address) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(address)
    }
}
