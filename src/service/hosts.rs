//! Several hosts as one.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use registry_api::call::Host;
use registry_api::{Address, Error, Metadata, Offer, Result, ServiceName};

/// What a process serves.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<Arc<dyn Host>>);

impl Hosts {
    pub(super) fn add(&mut self, host: Arc<dyn Host>) {
        self.0.push(host);
    }

    /// A service that anybody may call who reaches it.
    pub(super) fn open(&self) -> Option<ServiceName> {
        let mut open = self.0.iter().filter(|host| !host.is_guarded());
        open.find_map(|host| Some(host.offers().first()?.service.clone()))
    }

    /// One offer per service, with the addresses of all wires; `listed` are more of
    /// `name`. What has none, behind a connection that it opens itself, is joined by
    /// whoever it connects to.
    ///
    /// Errors: `InvalidArgument` where two hosts of one service say different things
    /// under one key.
    pub(super) fn merged(&self, name: &ServiceName, listed: &[Address]) -> Result<Vec<Offer>> {
        let listed = listed.iter().map(|address| Offer::new(name.clone(), address.clone()));
        let mut merged: Vec<Offer> = Vec::new();
        let own = self.0.iter().flat_map(|host| host.offers());
        for offer in own.filter(|offer| !offer.addresses.is_empty()).chain(listed) {
            match merged.iter_mut().find(|known| known.service == offer.service) {
                Some(known) => merge(known, &offer)?,
                None => merged.push(offer),
            }
        }
        Ok(merged)
    }
}

/// Adds what another wire offers of the same service.
fn merge(known: &mut Offer, more: &Offer) -> Result<()> {
    let addresses: Vec<_> = known.addresses.iter().chain(&*more.addresses).cloned().collect();
    known.addresses = addresses.into();
    for (key, value) in more.metadata.iter() {
        if known.metadata.get(key).is_some_and(|other| other != value) {
            let rule = format!("must not say two things under {key:?}");
            return Err(Error::invalid("hosts", rule).with("service", &known.service));
        }
    }
    let pairs = known.metadata.iter().chain(more.metadata.iter());
    let pairs: std::collections::BTreeMap<_, _> = pairs.collect();
    known.metadata = Metadata::new(pairs)?;
    Ok(())
}

#[async_trait]
impl Host for Hosts {
    fn offers(&self) -> Vec<Offer> {
        self.0.iter().flat_map(|host| host.offers()).collect()
    }

    fn is_guarded(&self) -> bool {
        self.0.iter().all(|host| host.is_guarded())
    }

    async fn close(&self) {
        join_all(self.0.iter().map(|host| host.close())).await;
    }
}
