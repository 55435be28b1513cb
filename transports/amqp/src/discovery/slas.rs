//! What H2's services promise, as declarations of the registry: callers of all wires
//! wait by them, and consoles show them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use registry_api::{
    Endpoint, Owner, Query, Registration, RegistrationMode, Registry, Result, ServiceName,
    ServiceSpec, Sla,
};

use super::record::Record;

/// Whose these declarations are.
const OWNER: &str = "h2";

pub(super) struct Slas {
    registry: Arc<dyn Registry>,
    owner: Owner,
    /// As they were last declared, or refused: somebody else may have the name.
    known: HashMap<ServiceName, ServiceSpec>,
}

impl Slas {
    pub(super) fn new(registry: Arc<dyn Registry>) -> Result<Self> {
        Ok(Self { registry, owner: Owner::parse(OWNER)?, known: HashMap::new() })
    }

    /// Declares what is new.
    pub(super) async fn settle(&mut self, there: &[Record]) {
        for spec in specs(there) {
            if self.known.get(&spec.name) == Some(&spec) {
                continue;
            }
            self.known.insert(spec.name.clone(), spec.clone());
            let merge = RegistrationMode::Merge;
            let registration = Registration::new(self.owner.clone(), merge, vec![spec]);
            if let Err(error) = self.registry.register(registration).await {
                tracing::debug!(?error, "the SLAs of a service are not declared");
            }
        }
    }

    /// Takes away what nobody serves any more, and declares the rest once more.
    pub(super) async fn tidy(&mut self, there: &[Record]) {
        self.known.clear();
        let Ok(view) = self.registry.resolve(&Query::all()).await else { return };
        let ours = view.services.iter().filter(|record| record.owner == self.owner);
        let is_served = |name: &ServiceName| there.iter().any(|it| it.service() == name.as_str());
        let names = ours.map(|record| record.spec.name.clone());
        let gone: Vec<_> = names.filter(|name| !is_served(name)).collect();
        if !gone.is_empty()
            && let Err(error) = self.registry.deregister(&self.owner, &gone).await
        {
            tracing::debug!(?error, "services without instances stay declared");
        }
    }
}

/// A declaration for each service; where versions differ, the newest is right.
fn specs(there: &[Record]) -> Vec<ServiceSpec> {
    let mut newest: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in there {
        let version = |record: &Record| record.told().service.version;
        let known = newest.entry(record.service()).or_insert(record);
        if version(record) > version(known) {
            *known = record;
        }
    }
    let spec = |record: &&Record| {
        let ms = |ms: i32| Duration::from_millis(u64::from(ms.max(0).unsigned_abs()));
        let endpoint = |told: &super::model::Endpoint| Endpoint {
            name: told.name.clone(),
            sla: Some(Sla { mean: ms(told.mean), p95: ms(told.upper95) }),
            roles: Vec::new(), // H2's servers look after that themselves.
            idempotent: false,
        };
        let mut spec = ServiceSpec::new(ServiceName::parse(record.service()).ok()?);
        spec.endpoints = record.told().endpoints.iter().map(endpoint).collect();
        spec.version = record.told().service.version.to_string();
        spec.description = record.told().service.description.clone().unwrap_or_default();
        Some(spec)
    };
    newest.values().filter_map(spec).collect()
}
