//! The one place that refuses: what a backend does not claim, and what breaks a
//! limit. Backends behind it see only requests they can serve.

use std::sync::Arc;

use async_trait::async_trait;

use crate::capability::{Capability, Info};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Owner, ServiceName};
use crate::instance::{InstanceRef, InstanceSpec};
use crate::lease::{Beat, BeatOutcome, Lease};
use crate::limits::{Limits, check_count};
use crate::query::{Query, Scope, View};
use crate::registry::Registry;
use crate::service::{Registration, ServiceRecord};
use crate::watch::{WatchFrom, WatchStream};

/// A registry that checks every request against limits and capabilities first.
///
/// Every handle that is handed out is wrapped in one, so that the same strings
/// are accepted and refused on every backend (SPEC R5).
#[derive(Debug)]
pub struct Guard<R>(R);

impl<R: Registry> Guard<R> {
    /// Wraps a backend.
    pub fn new(backend: R) -> Self {
        Self(backend)
    }

    /// Wraps a backend into the currency.
    pub fn shared(backend: R) -> Arc<dyn Registry> {
        Arc::new(Self(backend))
    }

    fn claims(&self, capability: Capability) -> Result<()> {
        if self.0.info().capabilities.has(capability) {
            return Ok(());
        }
        let message = format!("{} does not claim {capability}", self.0.info().name);
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry> Registry for Guard<R> {
    fn info(&self) -> &Info {
        self.0.info()
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        const OPERATION: &str = "register";
        registration.check().map_err(|e| e.during(OPERATION))?;
        let records = self.0.register(registration).await;
        records.map_err(|e| e.during(OPERATION))
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        const OPERATION: &str = "deregister";
        check_count("services", services.len(), Limits::MAX_SERVICES)
            .map_err(|e| e.during(OPERATION))?;
        let done = self.0.deregister(owner, services).await;
        done.map_err(|e| e.during(OPERATION))
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        const OPERATION: &str = "connect";
        check_count("instances", instances.len(), Limits::MAX_BATCH)
            .map_err(|e| e.during(OPERATION))?;
        let limits = &self.0.info().limits;
        let checked: Vec<_> = instances.iter().map(|spec| grant(limits, spec)).collect();
        let good: Vec<_> = checked.iter().flatten().cloned().collect();
        let answers = match good.is_empty() {
            true => Vec::new(),
            false => self.0.connect(&good).await.map_err(|e| e.during(OPERATION))?,
        };
        let mut answers = answers.into_iter();
        let merge = |checked: Result<InstanceSpec>| {
            let answer =
                checked.and_then(|_| answers.next().unwrap_or_else(|| Err(short_answer())));
            answer.map_err(|e| e.during(OPERATION))
        };
        Ok(checked.into_iter().map(merge).collect())
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        const OPERATION: &str = "heartbeat";
        check_count("beats", beats.len(), Limits::MAX_BATCH).map_err(|e| e.during(OPERATION))?;
        self.0.heartbeat(beats).await.map_err(|e| e.during(OPERATION))
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        const OPERATION: &str = "disconnect";
        check_count("instances", instances.len(), Limits::MAX_BATCH)
            .map_err(|e| e.during(OPERATION))?;
        let done = self.0.disconnect(instances).await;
        done.map_err(|e| e.during(OPERATION))
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        const OPERATION: &str = "resolve";
        check_scope(&query.scope).map_err(|e| e.during(OPERATION))?;
        self.0.resolve(query).await.map_err(|e| e.during(OPERATION))
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        const OPERATION: &str = "watch";
        check_scope(scope).map_err(|e| e.during(OPERATION))?;
        if let WatchFrom::Revision(_) = from {
            self.claims(Capability::Resume).map_err(|e| e.during(OPERATION))?;
        }
        self.0.watch(scope, from).await.map_err(|e| e.during(OPERATION))
    }
}

/// The spec with the terms the backend grants.
fn grant(limits: &Limits, spec: &InstanceSpec) -> Result<InstanceSpec> {
    spec.check().map_err(|e| e.with("id", &spec.id))?;
    Ok(spec.clone().with_terms(limits.grant(spec.terms)?))
}

fn check_scope(scope: &Scope) -> Result<()> {
    match scope {
        Scope::Services(names) => check_count("services", names.len(), Limits::MAX_SERVICES),
        Scope::All | Scope::Declarations | Scope::Instance(_) => Ok(()),
    }
}

fn short_answer() -> Error {
    Error::new(ErrorKind::Corrupt, "the backend answered fewer entries than it was asked")
}
