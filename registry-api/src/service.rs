//! Declarations: what a service is, whose it is, and how it is called.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::identity::{Owner, ServiceName};
use crate::limits::{Limits, check_count, check_text};
use crate::metadata::Metadata;
use crate::revision::Revision;

/// What an owner declares about a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceSpec {
    /// The name.
    pub name: ServiceName,
    /// The version of the declaration, free text.
    #[serde(default)]
    pub version: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The interface definition, for example a `.thrift` text; empty if none.
    #[serde(default)]
    pub idl: String,
    /// The texts that `idl` includes, by the names it includes them under.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub idl_includes: BTreeMap<String, String>,
    /// Public paths and the methods behind them.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Methods with promises about them.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Free-form facts.
    #[serde(default)]
    pub metadata: Metadata,
}

impl ServiceSpec {
    /// A declaration with nothing but a name.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            version: String::new(),
            description: String::new(),
            idl: String::new(),
            idl_includes: BTreeMap::new(),
            routes: Vec::new(),
            endpoints: Vec::new(),
            metadata: Metadata::default(),
        }
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the interface definition.
    #[must_use]
    pub fn with_idl(mut self, idl: impl Into<String>) -> Self {
        self.idl = idl.into();
        self
    }

    /// Sets the texts that the interface definition includes.
    #[must_use]
    pub fn with_idl_includes(mut self, includes: BTreeMap<String, String>) -> Self {
        self.idl_includes = includes;
        self
    }

    /// Sets promises about methods.
    #[must_use]
    pub fn with_endpoints(mut self, endpoints: Vec<Endpoint>) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Sets the routes.
    #[must_use]
    pub fn with_routes(mut self, routes: Vec<Route>) -> Self {
        self.routes = routes;
        self
    }

    /// Checks the limits that types alone do not keep.
    pub fn check(&self) -> Result<()> {
        check_text("version", &self.version)?;
        check_text("description", &self.description)?;
        let includes = self.idl_includes.iter().map(|(name, text)| name.len() + text.len());
        if self.idl.len() + includes.sum::<usize>() > Limits::MAX_IDL {
            let rule = format!("must have at most {} bytes, includes and all", Limits::MAX_IDL);
            return Err(Error::invalid("idl", rule).with("service", &self.name));
        }
        check_count("routes", self.routes.len(), Limits::MAX_ROUTES)?;
        check_count("endpoints", self.endpoints.len(), Limits::MAX_ROUTES)?;
        for (place, route) in self.routes.iter().enumerate() {
            check_text("routes", &route.path)?;
            check_text("routes", &route.method)?;
            if self.routes[..place].iter().any(|r| r.path == route.path) {
                return Err(Error::invalid("routes", "must not name a path twice")
                    .with("path", &route.path));
            }
        }
        self.endpoints.iter().try_for_each(Endpoint::check)
    }
}

/// A public path of a service and the method it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The path segment callers use.
    pub path: String,
    /// The method of the interface definition.
    pub method: String,
}

/// A method with promises about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The method.
    pub name: String,
    /// How long it takes.
    #[serde(default)]
    pub sla: Option<Sla>,
    /// Roles of which the caller must hold one; empty admits everybody.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether running it twice is the same as once, so that it may be repeated.
    #[serde(default)]
    pub idempotent: bool,
}

impl Endpoint {
    fn check(&self) -> Result<()> {
        check_text("endpoints", &self.name)?;
        check_count("roles", self.roles.len(), Limits::MAX_OFFERS)
    }
}

/// How long a method takes, as its owner declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sla {
    /// The mean.
    pub mean: Duration,
    /// The 95th percentile.
    pub p95: Duration,
}

/// The SHA-256 of an API key: the only form in which keys are stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The first 8 hexadecimal digits: names the key in logs and on command
    /// lines without giving it away.
    pub fn id(&self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// A declared service as the registry holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What was declared.
    pub spec: ServiceSpec,
    /// Whose it is.
    pub owner: Owner,
    /// The owner's live API keys, as hashes.
    pub keys: Arc<[KeyHash]>,
    /// The revision at which this record last changed.
    pub revision: Revision,
}

/// A request to declare services: all of it happens, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Registration {
    /// Who declares.
    pub owner: Owner,
    /// What is declared.
    pub services: Vec<ServiceSpec>,
    /// What happens to what is there.
    pub mode: RegistrationMode,
    /// What happens to the owner's keys.
    pub keys: KeyChange,
}

impl Registration {
    /// A registration that leaves the owner's keys alone.
    pub fn new(owner: Owner, mode: RegistrationMode, services: Vec<ServiceSpec>) -> Self {
        Self { owner, services, mode, keys: KeyChange::Keep }
    }

    /// Sets the change to the owner's keys.
    #[must_use]
    pub fn with_keys(mut self, keys: KeyChange) -> Self {
        self.keys = keys;
        self
    }

    /// Checks the limits that types alone do not keep.
    pub fn check(&self) -> Result<()> {
        check_count("services", self.services.len(), Limits::MAX_SERVICES)?;
        for (place, spec) in self.services.iter().enumerate() {
            spec.check()?;
            if self.services[..place].iter().any(|s| s.name == spec.name) {
                return Err(Error::invalid("services", "must not name a service twice")
                    .with("service", &spec.name));
            }
        }
        Ok(())
    }
}

/// What a registration does to what its owner already declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// The owner must be new, and so must every name.
    Create,
    /// The named services are declared or updated; the owner's others stay.
    Merge,
    /// The owner's services become exactly the named ones.
    Replace,
}

/// What a registration does to its owner's keys. An owner has at most
/// [`Limits::MAX_KEYS`] at a time and loses them with its last service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChange {
    /// They stay.
    #[default]
    Keep,
    /// One is added; refused when the owner already has two others.
    Add(KeyHash),
    /// One is removed, if it is there.
    Revoke(KeyHash),
}
