//! Calls to services that are connected in reverse, to this gateway or another.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::call::{Call, CallError, Caller, Peer, Reply};
use registry_api::{Address, ErrorKind, Target, Transport};

use crate::gateway::Switchboard;

/// Calls over connections that other gateways hold.
#[async_trait]
pub trait Elsewhere: Debug + Send + Sync + 'static {
    /// Calls over a connection of that gateway.
    async fn call(&self, gateway: &str, connection: &str, call: Call) -> Result<Reply, CallError>;
}

/// Calls instances at `reverse:<gateway>/<connection>`.
#[derive(Debug)]
pub struct ReverseCaller {
    switchboard: Switchboard,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl ReverseCaller {
    /// A caller over the connections of this gateway alone.
    pub fn new(switchboard: Switchboard) -> Self {
        Self { switchboard, elsewhere: None }
    }

    /// Calls connections of other gateways through them.
    #[must_use]
    pub fn with_elsewhere(mut self, elsewhere: Arc<dyn Elsewhere>) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }
}

#[async_trait]
impl Caller for ReverseCaller {
    fn speaks(&self, address: &Address) -> bool {
        let Target::Connection { gateway, .. } = address.target() else { return false };
        // Without a way to other gateways their instances are nobody's to pick.
        gateway == self.switchboard.gateway() || self.elsewhere.is_some()
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let (Transport::Reverse, Target::Connection { gateway, connection }) =
            (peer.address.transport(), peer.address.target())
        else {
            return Err(nowhere("the address is not that of a connection"));
        };
        if gateway == self.switchboard.gateway() {
            return self.switchboard.call(connection, call).await;
        }
        match &self.elsewhere {
            Some(elsewhere) => elsewhere.call(gateway, connection, call).await,
            None => Err(nowhere("the service is connected to another gateway")),
        }
    }
}

fn nowhere(reason: &str) -> CallError {
    CallError::new(ErrorKind::Unavailable.into(), reason).not_run()
}
