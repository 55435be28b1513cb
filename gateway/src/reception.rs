//! Services that come to the gateway over gRPC: who may, and what they are in the
//! registry.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portolan::access::{Credential, Desk};
use portolan::grpc::{Presence, Reception};
use portolan::{
    AddressPolicy, Client, Error, InstanceSpec, Membership, MembershipState, Namespace, Result,
    Revision, ServiceName, Target,
};
use tokio::time::timeout;

use crate::dispatch::Dispatcher;

/// The reception of a gateway.
#[derive(Debug)]
pub(crate) struct FrontDesk {
    pub(crate) namespace: Namespace,
    /// Asks who may.
    pub(crate) desk: Desk,
    pub(crate) client: Client,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) policy: AddressPolicy,
}

/// How long a service waits for a registry that does not answer before it is told
/// that it is connected all the same.
const JOINED_WITHIN: Duration = Duration::from_secs(2);

#[async_trait]
impl Reception for FrontDesk {
    async fn admit(&self, credential: &Credential, instance: &InstanceSpec) -> Result<()> {
        let asker = self.desk.asker(&self.namespace, credential.clone())?;
        match instance.offers.is_empty() {
            true => asker.may_read().await.map(drop),
            false => asker.may_connect(instance).await,
        }
    }

    async fn may_stay(&self, credential: &Credential, services: &[ServiceName]) -> Result<()> {
        self.desk.asker(&self.namespace, credential.clone())?.may_stay(services).await
    }

    async fn join(&self, instance: InstanceSpec) -> Box<dyn Presence> {
        let services = services_of(&instance);
        let membership = self.client.join(instance);
        if let Ok(Some(lease)) = timeout(JOINED_WITHIN, membership.connected()).await {
            self.show(&services, lease.revision).await;
        }
        Box::new(Joined(membership))
    }

    async fn register(&self, credential: &Credential, instance: InstanceSpec) -> Result<()> {
        self.check_addresses(&instance)?;
        let services = services_of(&instance);
        let asker = self.desk.asker(&self.namespace, credential.clone())?;
        let lease = asker.connect(vec![Ok(instance)]).await?.remove(0)?;
        self.show(&services, lease.revision).await;
        Ok(())
    }
}

fn services_of(instance: &InstanceSpec) -> Vec<ServiceName> {
    instance.offers.iter().map(|offer| offer.service.clone()).collect()
}

impl FrontDesk {
    /// Returns once the next call can find who has joined.
    async fn show(&self, services: &[ServiceName], revision: Revision) {
        self.dispatcher.declared(services).await;
        for service in services {
            self.dispatcher.caught_up(service, revision).await;
        }
    }

    /// Judged now, so that whoever comes learns it, and again when it is dialled.
    fn check_addresses(&self, instance: &InstanceSpec) -> Result<()> {
        for address in instance.offers.iter().flat_map(|offer| offer.addresses.iter()) {
            let Target::Host { host, port } = address.target() else { continue };
            if let Ok(ip) = host.parse::<IpAddr>() {
                let judged = self.policy.check((ip, port).into());
                judged.map_err(|refusal| Error::invalid("address", refusal.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Leaves when dropped.
struct Joined(Membership);

#[async_trait]
impl Presence for Joined {
    async fn superseded(&mut self) {
        let mut state = self.0.watch();
        let gone = |state: &MembershipState| matches!(state, MembershipState::Superseded);
        if state.wait_for(gone).await.is_err() {
            std::future::pending().await // The driver is gone with its runtime.
        }
    }
}
