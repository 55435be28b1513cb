//! Declarations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use registry_api as api;
use registry_api::{Error, Result};

use super::{Form, all_from_wire, all_to_wire, mode, needed};
use crate::v1;

impl Form for api::Endpoint {
    type Wire = v1::Endpoint;

    fn to_wire(&self) -> v1::Endpoint {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        v1::Endpoint {
            name: self.name.clone(),
            sla: self.sla.map(|sla| v1::Sla { mean_us: micros(sla.mean), p95_us: micros(sla.p95) }),
            roles: self.roles.clone(),
            idempotent: self.idempotent,
        }
    }

    fn from_wire(wire: v1::Endpoint) -> Result<Self> {
        let micros = Duration::from_micros;
        let sla =
            wire.sla.map(|sla| api::Sla { mean: micros(sla.mean_us), p95: micros(sla.p95_us) });
        Ok(Self { name: wire.name, sla, roles: wire.roles, idempotent: wire.idempotent })
    }
}

impl Form for api::ServiceSpec {
    type Wire = v1::ServiceSpec;

    fn to_wire(&self) -> v1::ServiceSpec {
        let route = |route: &api::Route| v1::Route {
            path: route.path.clone(),
            method: route.method.clone(),
        };
        v1::ServiceSpec {
            name: self.name.to_wire(),
            version: self.version.clone(),
            description: self.description.clone(),
            idl: self.idl.clone(),
            idl_includes: self.idl_includes.clone(),
            routes: self.routes.iter().map(route).collect(),
            endpoints: all_to_wire(&self.endpoints),
            metadata: self.metadata.clone().into(),
        }
    }

    fn from_wire(wire: v1::ServiceSpec) -> Result<Self> {
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

fn key_hash(bytes: &Bytes) -> Result<api::KeyHash> {
    let hash = <[u8; 32]>::try_from(&**bytes);
    hash.map(api::KeyHash).map_err(|_| Error::invalid("keys", "must be SHA-256, 32 bytes"))
}

fn key_bytes(hash: &api::KeyHash) -> Bytes {
    Bytes::copy_from_slice(&hash.0)
}

impl Form for Arc<api::ServiceRecord> {
    type Wire = v1::ServiceRecord;

    fn to_wire(&self) -> v1::ServiceRecord {
        v1::ServiceRecord {
            spec: Some(self.spec.to_wire()),
            owner: self.owner.as_str().to_owned(),
            keys: self.keys.iter().map(key_bytes).collect(),
            revision: Some(self.revision.to_wire()),
        }
    }

    fn from_wire(wire: v1::ServiceRecord) -> Result<Self> {
        Ok(Self::new(api::ServiceRecord {
            spec: needed("service", wire.spec)?,
            owner: api::Owner::parse(&wire.owner)?,
            keys: wire.keys.iter().map(key_hash).collect::<Result<_>>()?,
            revision: needed("revision", wire.revision)?,
        }))
    }
}

impl Form for api::Registration {
    type Wire = v1::RegisterRequest;

    fn to_wire(&self) -> v1::RegisterRequest {
        use v1::key_change::Change;
        let change = match &self.keys {
            api::KeyChange::Keep => None,
            api::KeyChange::Add(hash) => Some(Change::Add(key_bytes(hash))),
            api::KeyChange::Revoke(hash) => Some(Change::Revoke(key_bytes(hash))),
        };
        v1::RegisterRequest {
            owner: self.owner.as_str().to_owned(),
            services: all_to_wire(&self.services),
            mode: mode::number(self.mode),
            keys: change.map(|change| v1::KeyChange { change: Some(change) }),
        }
    }

    fn from_wire(wire: v1::RegisterRequest) -> Result<Self> {
        use v1::key_change::Change;
        let keys = match wire.keys.and_then(|keys| keys.change) {
            None => api::KeyChange::Keep,
            Some(Change::Add(key)) => api::KeyChange::Add(key_hash(&key)?),
            Some(Change::Revoke(key)) => api::KeyChange::Revoke(key_hash(&key)?),
        };
        let owner = api::Owner::parse(&wire.owner)?;
        let services = all_from_wire(wire.services)?;
        Ok(Self::new(owner, mode::read(wire.mode)?, services).with_keys(keys))
    }
}
