//! Declarations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use registry_api as api;
use registry_api::{Error, Result};

use super::{Form, all_from_wire, all_to_wire, mode, pairs};
use crate::registry::record as wire;
use crate::registry::record::Blob;

impl Form for api::Endpoint {
    type Wire = wire::Endpoint;

    fn to_wire(&self) -> wire::Endpoint {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        wire::Endpoint {
            name: self.name.clone(),
            mean_us: self.sla.map(|sla| micros(sla.mean)),
            p95_us: self.sla.map(|sla| micros(sla.p95)),
            roles: self.roles.clone(),
            idempotent: self.idempotent,
        }
    }

    fn from_wire(wire: wire::Endpoint) -> Result<Self> {
        let micros = |micros| {
            let micros = u64::try_from(micros);
            micros.map(Duration::from_micros).map_err(|_| Error::invalid("sla", "is negative"))
        };
        let sla = match (wire.mean_us, wire.p95_us) {
            (Some(mean), Some(p95)) => Some(api::Sla { mean: micros(mean)?, p95: micros(p95)? }),
            (None, None) => None,
            _ => return Err(Error::invalid("sla", "must name mean and p95")),
        };
        Ok(Self { name: wire.name, sla, roles: wire.roles, idempotent: wire.idempotent })
    }
}

impl Form for api::ServiceSpec {
    type Wire = wire::ServiceSpec;

    fn to_wire(&self) -> wire::ServiceSpec {
        let route = |route: &api::Route| wire::Route {
            path: route.path.clone(),
            method: route.method.clone(),
        };
        wire::ServiceSpec {
            name: self.name.to_wire(),
            version: self.version.clone(),
            description: self.description.clone(),
            idl: self.idl.clone(),
            idl_includes: self.idl_includes.clone(),
            routes: self.routes.iter().map(route).collect(),
            endpoints: all_to_wire(&self.endpoints),
            metadata: pairs(&self.metadata),
        }
    }

    fn from_wire(wire: wire::ServiceSpec) -> Result<Self> {
        let routes = wire.routes.into_iter();
        let routes = routes.map(|route| api::Route { path: route.path, method: route.method });
        let mut spec = Self::new(Form::from_wire(wire.name)?)
            .with_version(wire.version)
            .with_description(wire.description)
            .with_idl(wire.idl)
            .with_idl_includes(wire.idl_includes)
            .with_routes(routes.collect())
            .with_endpoints(all_from_wire(wire.endpoints)?);
        spec.metadata = api::Metadata::new(wire.metadata)?;
        Ok(spec)
    }
}

fn key_hash(blob: &Blob) -> Result<api::KeyHash> {
    let hash = <[u8; 32]>::try_from(&*blob.0);
    hash.map(api::KeyHash).map_err(|_| Error::invalid("keys", "must be SHA-256, 32 bytes"))
}

fn key_blob(hash: &api::KeyHash) -> Blob {
    Blob(Bytes::copy_from_slice(&hash.0))
}

impl Form for Arc<api::ServiceRecord> {
    type Wire = wire::ServiceRecord;

    fn to_wire(&self) -> wire::ServiceRecord {
        wire::ServiceRecord {
            spec: self.spec.to_wire(),
            owner: self.owner.as_str().to_owned(),
            keys: self.keys.iter().map(key_blob).collect(),
            revision: self.revision.to_wire(),
        }
    }

    fn from_wire(wire: wire::ServiceRecord) -> Result<Self> {
        Ok(Self::new(api::ServiceRecord {
            spec: Form::from_wire(wire.spec)?,
            owner: api::Owner::parse(&wire.owner)?,
            keys: wire.keys.iter().map(key_hash).collect::<Result<_>>()?,
            revision: Form::from_wire(wire.revision)?,
        }))
    }
}

impl Form for api::Registration {
    type Wire = wire::Registration;

    fn to_wire(&self) -> wire::Registration {
        let (key_change, key) = match &self.keys {
            api::KeyChange::Keep => (0, None),
            api::KeyChange::Add(hash) => (1, Some(key_blob(hash))),
            api::KeyChange::Revoke(hash) => (2, Some(key_blob(hash))),
        };
        wire::Registration {
            owner: self.owner.as_str().to_owned(),
            services: all_to_wire(&self.services),
            mode: mode::number(self.mode),
            key_change,
            key,
        }
    }

    fn from_wire(wire: wire::Registration) -> Result<Self> {
        let keys = match (wire.key_change, &wire.key) {
            (0, _) => api::KeyChange::Keep,
            (1, Some(key)) => api::KeyChange::Add(key_hash(key)?),
            (2, Some(key)) => api::KeyChange::Revoke(key_hash(key)?),
            _ => return Err(Error::invalid("keys", "must be kept, or name the key")),
        };
        let owner = api::Owner::parse(&wire.owner)?;
        let services = all_from_wire(wire.services)?;
        Ok(Self::new(owner, mode::read(wire.mode)?, services).with_keys(keys))
    }
}
