//! One holder's presence: what it offers, and whether it is well.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::{Error, Result};
use crate::identity::{InstanceId, ServiceName};
use crate::lease::{Lease, LeaseTerms};
use crate::limits::{Limits, check_count, check_text};
use crate::metadata::Metadata;
use crate::revision::{Epoch, Revision};

/// A share of traffic relative to the other instances; 0 takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u32);

impl Default for Weight {
    /// 10, the default of the Kitex ecosystem, so that mixed fleets share evenly.
    fn default() -> Self {
        Self(10)
    }
}

/// One service that an instance offers, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Offer {
    /// The service.
    pub service: ServiceName,
    /// Where it is called, best first; may be empty for a pure consumer.
    pub addresses: Arc<[Address]>,
    /// The version of the program, free text.
    #[serde(default)]
    pub version: Arc<str>,
    /// The share of traffic.
    #[serde(default)]
    pub weight: Weight,
    /// Where the instance runs, free text.
    #[serde(default)]
    pub zone: Arc<str>,
    /// Free-form facts.
    #[serde(default)]
    pub metadata: Metadata,
}

impl Offer {
    /// An offer of `service` at `address`.
    pub fn new(service: ServiceName, address: Address) -> Self {
        Self::at(service, [address])
    }

    /// About how many bytes it has when it is written down.
    fn size(&self) -> usize {
        let addresses: usize = self.addresses.iter().map(|address| address.as_str().len()).sum();
        let metadata = self.metadata.iter().map(|(key, value)| key.len() + value.len() + 6);
        addresses + metadata.sum::<usize>() + self.service.as_str().len() + 100
    }

    /// An offer of `service` at several addresses, best first.
    pub fn at(service: ServiceName, addresses: impl IntoIterator<Item = Address>) -> Self {
        Self {
            service,
            addresses: addresses.into_iter().collect(),
            version: Arc::from(""),
            weight: Weight::default(),
            zone: Arc::from(""),
            metadata: Metadata::default(),
        }
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = Weight(weight);
        self
    }

    /// Sets the zone.
    #[must_use]
    pub fn with_zone(mut self, zone: &str) -> Self {
        self.zone = zone.into();
        self
    }

    /// Sets the metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    fn check(&self) -> Result<()> {
        check_count("addresses", self.addresses.len(), Limits::MAX_ADDRESSES)?;
        check_text("version", &self.version)?;
        check_text("zone", &self.zone)
    }
}

/// What the holder says about itself. Only connect changes it; a beat never does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Present, not yet to be called.
    Starting,
    /// To be called.
    #[default]
    Ready,
    /// Finishing what it has; called only when nothing else is left.
    Draining,
}

/// What the judge of its lease says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Its last beat is younger than its ttl.
    Online,
    /// Silent for its ttl; listed until its ttd.
    Offline,
}

/// Why an instance is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cause {
    /// Its holder left.
    Deregistered,
    /// It was silent for its ttd.
    Expired,
    /// A newer epoch of the same id took its place.
    Superseded,
    /// A foreign hand removed a foreign record.
    Unknown,
}

/// What a holder asks for when it connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceSpec {
    /// The id of the instance.
    pub id: InstanceId,
    /// Which life of it; `None` lets the registry choose one that supersedes
    /// whatever is live.
    pub epoch: Option<Epoch>,
    /// The asked lease terms.
    pub terms: LeaseTerms,
    /// The declared phase.
    pub phase: Phase,
    /// What it offers, at most one offer per service.
    pub offers: Arc<[Offer]>,
}

impl InstanceSpec {
    /// A ready instance with default terms and an epoch of the registry's choice.
    pub fn new(id: InstanceId, offers: impl IntoIterator<Item = Offer>) -> Self {
        Self {
            id,
            epoch: None,
            terms: LeaseTerms::default(),
            phase: Phase::Ready,
            offers: offers.into_iter().collect(),
        }
    }

    /// Sets the epoch.
    #[must_use]
    pub fn with_epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Sets the terms.
    #[must_use]
    pub fn with_terms(mut self, terms: LeaseTerms) -> Self {
        self.terms = terms;
        self
    }

    /// Sets the phase.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// About how many bytes it has when it is written down.
    pub fn size(&self) -> usize {
        200 + self.offers.iter().map(Offer::size).sum::<usize>()
    }

    /// Checks the limits that types alone do not keep.
    pub fn check(&self) -> Result<()> {
        check_count("offers", self.offers.len(), Limits::MAX_OFFERS)?;
        for (place, offer) in self.offers.iter().enumerate() {
            offer.check()?;
            if self.offers[..place].iter().any(|o| o.service == offer.service) {
                return Err(Error::invalid("offers", "must not name a service twice")
                    .with("service", &offer.service));
            }
        }
        Ok(())
    }
}

/// Points at one life of an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceRef {
    /// The id.
    pub id: InstanceId,
    /// The life; a reference to an older one than is live means nobody.
    pub epoch: Epoch,
}

/// The stored record of a connected instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Presence {
    /// The id.
    pub id: InstanceId,
    /// Which life of it.
    pub epoch: Epoch,
    /// The granted lease terms.
    pub terms: LeaseTerms,
    /// The declared phase.
    pub phase: Phase,
    /// What it offers.
    pub offers: Arc<[Offer]>,
    /// The revision at which this record last changed.
    pub revision: Revision,
}

impl Presence {
    /// The record of a granted spec.
    pub fn new(spec: &InstanceSpec, epoch: Epoch, revision: Revision) -> Self {
        Self {
            id: spec.id.clone(),
            epoch,
            terms: spec.terms,
            phase: spec.phase,
            offers: spec.offers.clone(),
            revision,
        }
    }

    /// The offer for `service`.
    pub fn offer(&self, service: &ServiceName) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.service == *service)
    }

    /// The lease of this life, without a token.
    pub fn lease(&self) -> Lease {
        Lease {
            id: self.id.clone(),
            epoch: self.epoch,
            terms: self.terms,
            token: None,
            revision: self.revision,
        }
    }

    /// The reference to this life.
    pub fn reference(&self) -> InstanceRef {
        InstanceRef { id: self.id.clone(), epoch: self.epoch }
    }
}

/// A presence and its health at the time it was read. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The stored record.
    pub presence: Arc<Presence>,
    /// The judgement at the time of the read.
    pub health: Health,
}

impl Instance {
    /// Whether it is to be called: online and ready.
    pub fn is_routable(&self) -> bool {
        self.health == Health::Online && self.presence.phase == Phase::Ready
    }
}

impl Deref for Instance {
    type Target = Presence;

    fn deref(&self) -> &Presence {
        &self.presence
    }
}
