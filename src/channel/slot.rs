//! One instance as a channel may pick it.

use std::sync::Arc;

use registry_api::call::Peer;
use registry_api::{Instance, Offer};

use super::node::Node;

/// An instance, the address to call it at, and what is known of its load.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) instance: Instance,
    pub(crate) node: Arc<Node>,
    pub(crate) weight: u32,
    /// Places in the instance's record.
    offer: u16,
    address: u16,
}

impl Slot {
    pub(super) fn new(
        instance: Instance,
        node: Arc<Node>,
        (offer, address): (usize, usize),
    ) -> Self {
        let weight = instance.offers[offer].weight.0;
        // The limits of a record are far below.
        Self { instance, node, weight, offer: offer as u16, address: address as u16 }
    }

    /// What it offers of the service.
    pub(crate) fn offer(&self) -> &Offer {
        &self.instance.offers[usize::from(self.offer)]
    }

    /// Whom to call.
    pub(crate) fn peer(&self) -> Peer<'_> {
        let offer = self.offer();
        let life = (&self.instance.id, self.instance.epoch);
        Peer::at(&offer.addresses[usize::from(self.address)])
            .with_life(life.0, life.1)
            .with_metadata(&offer.metadata)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use registry_api::{
        Address, Epoch, Era, Health, InstanceId, InstanceSpec, Presence, Revision, ServiceName,
    };

    use super::*;

    pub(crate) fn slot(id: &str, weight: u32) -> Slot {
        let address = Address::parse("tcp://h:1").unwrap();
        let offer = Offer::new(ServiceName::parse("s").unwrap(), address).with_weight(weight);
        let spec = InstanceSpec::new(InstanceId::parse(id).unwrap(), [offer]);
        let revision = Revision { era: Era(1), number: 1 };
        let presence = Arc::new(Presence::new(&spec, Epoch(1), revision));
        let instance = Instance { presence, health: Health::Online };
        Slot::new(instance, Arc::default(), (0, 0))
    }
}
