//! Asking an address whether anybody is there.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{Address, AddressPolicy, Target};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Finds out whether somebody listens at an address, for instances the registry
/// has lost sight of.
#[async_trait]
pub trait Probe: Debug + Send + Sync + 'static {
    /// Whether somebody is there. What cannot be probed is.
    async fn answers(&self, address: &Address) -> bool;
}

/// Connects over TCP and hangs up.
#[derive(Clone, Debug)]
pub struct TcpProbe {
    policy: AddressPolicy,
}

/// A connection that takes longer counts as refused.
const CONNECT: Duration = Duration::from_secs(1);

impl TcpProbe {
    /// Connects only where `policy` lets it; elsewhere nobody is.
    pub fn new(policy: AddressPolicy) -> Self {
        Self { policy }
    }

    async fn connects(&self, host: &str, port: u16) -> bool {
        let Ok(resolved) = lookup_host((host, port)).await else { return false };
        for address in resolved {
            if self.policy.check(address).is_ok() && TcpStream::connect(address).await.is_ok() {
                return true;
            }
        }
        false
    }
}

impl Default for TcpProbe {
    /// With loopback allowed: what this process follows is meant for it.
    fn default() -> Self {
        Self::new(AddressPolicy::new().allow_loopback(true))
    }
}

#[async_trait]
impl Probe for TcpProbe {
    async fn answers(&self, address: &Address) -> bool {
        match address.target() {
            Target::Host { host, port } => {
                timeout(CONNECT, self.connects(host, port)).await.unwrap_or(false)
            }
            Target::Queue(_) | Target::Connection { .. } => true,
        }
    }
}
