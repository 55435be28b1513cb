//! Whom a call goes to.

use crate::address::Address;
use crate::identity::{InstanceId, ServiceName};
use crate::instance::Instance;
use crate::metadata::Metadata;
use crate::revision::Epoch;

/// One address of one instance, borrowed from where it was picked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Peer<'a> {
    /// Where it is.
    pub address: &'a Address,
    /// Whose address it is, where that is known: a wire keeps no connection of
    /// one life for the next.
    pub life: Option<(&'a InstanceId, Epoch)>,
    /// What its offer says of itself. Which keys mean something is a wire's matter.
    pub metadata: Option<&'a Metadata>,
}

impl<'a> Peer<'a> {
    /// An address of which nothing else is known.
    pub fn at(address: &'a Address) -> Self {
        Self { address, life: None, metadata: None }
    }

    /// Says whose address it is.
    #[must_use]
    pub fn with_life(mut self, id: &'a InstanceId, epoch: Epoch) -> Self {
        self.life = Some((id, epoch));
        self
    }

    /// Says what its offer says of itself.
    #[must_use]
    pub fn with_metadata(mut self, metadata: &'a Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// The first address of an instance's offer of `service` that `fits`.
    pub fn of(
        instance: &'a Instance,
        service: &ServiceName,
        fits: impl Fn(&Address) -> bool,
    ) -> Option<Self> {
        let offer = instance.offer(service)?;
        let address = offer.addresses.iter().find(|address| fits(address))?;
        let life = Some((&instance.id, instance.epoch));
        Some(Self { address, life, metadata: Some(&offer.metadata) })
    }

    /// A fact of the offer; empty if there is none.
    pub fn fact(&self, key: &str) -> &'a str {
        self.metadata.and_then(|metadata| metadata.get(key)).unwrap_or_default()
    }
}
