//! Instances, their leases and their beats.

use std::sync::Arc;
use std::time::Duration;

use registry_api as api;
use registry_api::{Error, Result};

use super::{Form, all_from_wire, all_to_wire, health, millis, needed, phase};
use crate::v1;

impl Form for api::LeaseTerms {
    type Wire = v1::Terms;

    fn to_wire(&self) -> v1::Terms {
        v1::Terms { ttl_ms: millis(self.ttl()), ttd_ms: millis(self.ttd()) }
    }

    fn from_wire(wire: v1::Terms) -> Result<Self> {
        Self::new(Duration::from_millis(wire.ttl_ms), Duration::from_millis(wire.ttd_ms))
    }
}

impl Form for api::Offer {
    type Wire = v1::Offer;

    fn to_wire(&self) -> v1::Offer {
        v1::Offer {
            service: self.service.to_wire(),
            addresses: self.addresses.iter().map(|a| a.as_str().to_owned()).collect(),
            version: self.version.to_string(),
            weight: self.weight.0,
            zone: self.zone.to_string(),
            metadata: self.metadata.clone().into(),
        }
    }

    fn from_wire(wire: v1::Offer) -> Result<Self> {
        let addresses = wire.addresses.iter().map(|text| api::Address::parse(text));
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        Ok(Self::at(Form::from_wire(wire.service)?, addresses)
            .with_version(&wire.version)
            .with_weight(wire.weight)
            .with_zone(&wire.zone)
            .with_metadata(api::Metadata::new(wire.metadata)?))
    }
}

impl Form for api::InstanceSpec {
    type Wire = v1::InstanceSpec;

    fn to_wire(&self) -> v1::InstanceSpec {
        v1::InstanceSpec {
            id: self.id.as_str().to_owned(),
            epoch: self.epoch.map(|epoch| epoch.0),
            terms: Some(self.terms.to_wire()),
            phase: phase::number(self.phase),
            offers: all_to_wire(&self.offers),
        }
    }

    fn from_wire(wire: v1::InstanceSpec) -> Result<Self> {
        let offers: Vec<_> = all_from_wire(wire.offers)?;
        let mut spec = Self::new(api::InstanceId::parse(&wire.id)?, offers)
            .with_terms(needed("terms", wire.terms)?)
            .with_phase(phase::read(wire.phase)?);
        spec.epoch = wire.epoch.map(api::Epoch);
        Ok(spec)
    }
}

impl Form for api::InstanceRef {
    type Wire = v1::InstanceRef;

    fn to_wire(&self) -> v1::InstanceRef {
        v1::InstanceRef { id: self.id.as_str().to_owned(), epoch: self.epoch.0 }
    }

    fn from_wire(wire: v1::InstanceRef) -> Result<Self> {
        Ok(Self { id: api::InstanceId::parse(&wire.id)?, epoch: api::Epoch(wire.epoch) })
    }
}

impl Form for api::Beat {
    type Wire = v1::Beat;

    fn to_wire(&self) -> v1::Beat {
        let token = self.token.as_ref().map(|token| token.0.clone());
        v1::Beat { id: self.id.as_str().to_owned(), epoch: self.epoch.0, token }
    }

    fn from_wire(wire: v1::Beat) -> Result<Self> {
        Ok(Self {
            id: api::InstanceId::parse(&wire.id)?,
            epoch: api::Epoch(wire.epoch),
            token: wire.token.map(api::LeaseToken),
        })
    }
}

impl Form for api::Lease {
    type Wire = v1::Lease;

    fn to_wire(&self) -> v1::Lease {
        v1::Lease {
            id: self.id.as_str().to_owned(),
            epoch: self.epoch.0,
            terms: Some(self.terms.to_wire()),
            token: self.token.as_ref().map(|token| token.0.clone()),
            revision: Some(self.revision.to_wire()),
        }
    }

    fn from_wire(wire: v1::Lease) -> Result<Self> {
        Ok(Self {
            id: api::InstanceId::parse(&wire.id)?,
            epoch: api::Epoch(wire.epoch),
            terms: needed("terms", wire.terms)?,
            token: wire.token.map(api::LeaseToken),
            revision: needed("revision", wire.revision)?,
        })
    }
}

impl Form for api::Instance {
    type Wire = v1::Instance;

    fn to_wire(&self) -> v1::Instance {
        let spec = v1::InstanceSpec {
            id: self.id.as_str().to_owned(),
            epoch: Some(self.epoch.0),
            terms: Some(self.terms.to_wire()),
            phase: phase::number(self.phase),
            offers: all_to_wire(&self.offers),
        };
        v1::Instance {
            spec: Some(spec),
            revision: Some(self.revision.to_wire()),
            health: health::number(self.health),
        }
    }

    fn from_wire(wire: v1::Instance) -> Result<Self> {
        let spec: api::InstanceSpec = needed("instance", wire.spec)?;
        let epoch = spec.epoch.ok_or_else(|| Error::invalid("epoch", "is missing"))?;
        let revision = needed("revision", wire.revision)?;
        let presence = Arc::new(api::Presence::new(&spec, epoch, revision));
        Ok(Self { presence, health: health::read(wire.health)? })
    }
}

impl Form for Result<api::Lease> {
    type Wire = v1::connect_response::Answer;

    fn to_wire(&self) -> Self::Wire {
        use v1::connect_response::answer::Answer;
        let answer = match self {
            Ok(lease) => Answer::Lease(lease.to_wire()),
            Err(error) => Answer::Error(error.to_wire()),
        };
        v1::connect_response::Answer { answer: Some(answer) }
    }

    fn from_wire(wire: Self::Wire) -> Result<Self> {
        use v1::connect_response::answer::Answer;
        match wire.answer {
            Some(Answer::Lease(lease)) => Ok(Ok(Form::from_wire(lease)?)),
            Some(Answer::Error(error)) => Ok(Err(Form::from_wire(error)?)),
            None => Err(Error::invalid("connect", "has an answer that is none")),
        }
    }
}
