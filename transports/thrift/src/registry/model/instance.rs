//! Instances, their leases and their beats.

use std::sync::Arc;

use registry_api as api;
use registry_api::{Error, Result};

use super::{Form, all_from_wire, all_to_wire, from_millis, health, millis, pairs, phase};
use crate::registry::record as wire;
use crate::registry::record::Blob;

impl Form for api::LeaseTerms {
    type Wire = wire::Terms;

    fn to_wire(&self) -> wire::Terms {
        wire::Terms { ttl_ms: millis(self.ttl()), ttd_ms: millis(self.ttd()) }
    }

    fn from_wire(wire: wire::Terms) -> Result<Self> {
        Self::new(from_millis("ttl", wire.ttl_ms)?, from_millis("ttd", wire.ttd_ms)?)
    }
}

impl Form for api::Offer {
    type Wire = wire::Offer;

    fn to_wire(&self) -> wire::Offer {
        wire::Offer {
            service: self.service.to_wire(),
            addresses: self.addresses.iter().map(|a| a.as_str().to_owned()).collect(),
            version: self.version.to_string(),
            weight: i64::from(self.weight.0),
            zone: self.zone.to_string(),
            metadata: pairs(&self.metadata),
        }
    }

    fn from_wire(wire: wire::Offer) -> Result<Self> {
        let service = Form::from_wire(wire.service)?;
        let addresses = wire.addresses.iter().map(|text| api::Address::parse(text));
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        let weight = u32::try_from(wire.weight);
        let weight = weight.map_err(|_| Error::invalid("weight", "must be from 0 to 2^32-1"))?;
        Ok(Self::at(service, addresses)
            .with_version(&wire.version)
            .with_weight(weight)
            .with_zone(&wire.zone)
            .with_metadata(api::Metadata::new(wire.metadata)?))
    }
}

impl Form for api::InstanceSpec {
    type Wire = wire::InstanceSpec;

    fn to_wire(&self) -> wire::InstanceSpec {
        wire::InstanceSpec {
            id: self.id.as_str().to_owned(),
            epoch: self.epoch.map(|epoch| epoch.0),
            terms: self.terms.to_wire(),
            phase: phase::number(self.phase),
            offers: all_to_wire(&self.offers),
        }
    }

    fn from_wire(wire: wire::InstanceSpec) -> Result<Self> {
        let offers: Vec<_> = all_from_wire(wire.offers)?;
        let mut spec = Self::new(api::InstanceId::parse(&wire.id)?, offers)
            .with_terms(Form::from_wire(wire.terms)?)
            .with_phase(phase::read(wire.phase)?);
        spec.epoch = wire.epoch.map(api::Epoch);
        Ok(spec)
    }
}

impl Form for api::InstanceRef {
    type Wire = wire::InstanceRef;

    fn to_wire(&self) -> wire::InstanceRef {
        wire::InstanceRef { id: self.id.as_str().to_owned(), epoch: self.epoch.0 }
    }

    fn from_wire(wire: wire::InstanceRef) -> Result<Self> {
        Ok(Self { id: api::InstanceId::parse(&wire.id)?, epoch: api::Epoch(wire.epoch) })
    }
}

impl Form for api::Beat {
    type Wire = wire::Beat;

    fn to_wire(&self) -> wire::Beat {
        let token = self.token.as_ref().map(|token| Blob(token.0.clone()));
        wire::Beat { id: self.id.as_str().to_owned(), epoch: self.epoch.0, token }
    }

    fn from_wire(wire: wire::Beat) -> Result<Self> {
        Ok(Self {
            id: api::InstanceId::parse(&wire.id)?,
            epoch: api::Epoch(wire.epoch),
            token: wire.token.map(|token| api::LeaseToken(token.0)),
        })
    }
}

impl Form for api::Lease {
    type Wire = wire::Lease;

    fn to_wire(&self) -> wire::Lease {
        wire::Lease {
            id: self.id.as_str().to_owned(),
            epoch: self.epoch.0,
            terms: self.terms.to_wire(),
            token: self.token.as_ref().map(|token| Blob(token.0.clone())),
            revision: self.revision.to_wire(),
        }
    }

    fn from_wire(wire: wire::Lease) -> Result<Self> {
        Ok(Self {
            id: api::InstanceId::parse(&wire.id)?,
            epoch: api::Epoch(wire.epoch),
            terms: Form::from_wire(wire.terms)?,
            token: wire.token.map(|token| api::LeaseToken(token.0)),
            revision: Form::from_wire(wire.revision)?,
        })
    }
}

impl Form for api::Instance {
    type Wire = wire::Instance;

    fn to_wire(&self) -> wire::Instance {
        wire::Instance {
            id: self.id.as_str().to_owned(),
            epoch: self.epoch.0,
            terms: self.terms.to_wire(),
            phase: phase::number(self.phase),
            offers: all_to_wire(&self.offers),
            revision: self.revision.to_wire(),
            health: health::number(self.health),
        }
    }

    fn from_wire(wire: wire::Instance) -> Result<Self> {
        let (epoch, revision) = (api::Epoch(wire.epoch), Form::from_wire(wire.revision)?);
        let spec = api::InstanceSpec::from_wire(wire::InstanceSpec {
            id: wire.id,
            epoch: Some(wire.epoch),
            terms: wire.terms,
            phase: wire.phase,
            offers: wire.offers,
        })?;
        let presence = Arc::new(api::Presence::new(&spec, epoch, revision));
        Ok(Self { presence, health: health::read(wire.health)? })
    }
}

impl Form for Result<api::Lease> {
    type Wire = wire::Connected;

    fn to_wire(&self) -> wire::Connected {
        match self {
            Ok(lease) => wire::Connected { lease: Some(lease.to_wire()), error: None },
            Err(error) => wire::Connected { lease: None, error: Some(error.to_wire()) },
        }
    }

    fn from_wire(wire: wire::Connected) -> Result<Self> {
        match wire {
            wire::Connected { lease: Some(lease), .. } => Ok(Ok(Form::from_wire(lease)?)),
            wire::Connected { error: Some(error), .. } => Ok(Err(Form::from_wire(error)?)),
            _ => Err(Error::invalid("connect", "has an answer that is none")),
        }
    }
}
