//! The endpoints of discovery. All are open to the world, as H2's own are: an instance
//! has to register before anybody can know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use prost::Message;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use registry_api::{
    Error, ErrorKind, Filter, InstanceId, InstanceSpec, LeaseTerms, Presence, Query, Registry,
    RegistryExt, Result, ServiceName, Transport,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::model::{
    Done, Endpoints, Instance, Instances, MultiRequest, NamedEndpoint, OfService, OfZone, Services,
};
use super::record::Record;
use crate::content::Content;
use crate::json;
use crate::names::Prefix;

#[derive(Debug)]
pub(super) struct Desk {
    registry: Arc<dyn Registry>,
    prefix: Prefix,
    terms: LeaseTerms,
}

#[async_trait]
impl Handler for Desk {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        match &*call.method {
            "multiregister" => answer(&call, self.register(asked(&call)?).await),
            "unregister" => answer(&call, self.unregister(asked(&call)?).await),
            "services" => answer(&call, self.services(asked(&call)?).await),
            "endpoints" => answer(&call, self.endpoints(asked(&call)?).await),
            "instances" => answer(&call, self.instances(asked(&call)?).await),
            _ => {
                let has = "discovery has multiregister, unregister, services, endpoints, instances";
                Err(CallError::new(CallErrorKind::UnknownMethod, has))
            }
        }
    }
}

impl Desk {
    pub(super) fn new(registry: Arc<dyn Registry>, prefix: Prefix, terms: LeaseTerms) -> Self {
        Self { registry, prefix, terms }
    }

    /// Instances repeat this when they miss pings: the same life goes on.
    async fn register(&self, request: MultiRequest) -> Result<Done> {
        let record = Record::of(request, &self.prefix)?;
        let (id, offer) = (record.id()?, record.offer()?);
        let live = self.live(&id).await?;
        let mut spec = InstanceSpec::new(id, [offer]).with_terms(self.terms);
        if let Some(live) = live {
            if Record::read(&live).is_none() {
                return Err(Error::new(ErrorKind::Conflict, "the id is another instance's"));
            }
            spec = spec.with_epoch(live.epoch);
        }
        self.registry.connect_one(spec).await.map(|_| Done {})
    }

    /// Only what registered here leaves here. Unknown ids are passed over.
    async fn unregister(&self, request: MultiRequest) -> Result<Done> {
        let id = InstanceId::parse(&request.instance_id)?;
        let live = self.live(&id).await?;
        if let Some(live) = live.filter(|live| Record::read(live).is_some()) {
            self.registry.disconnect(&[live.reference()]).await?;
        }
        Ok(Done {})
    }

    async fn live(&self, id: &InstanceId) -> Result<Option<Arc<Presence>>> {
        match self.registry.resolve(&Query::instance(id.clone())).await {
            Ok(view) => Ok(view.instance(id).map(|instance| Arc::clone(&instance.presence))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn services(&self, of: OfService) -> Result<Services> {
        let records = self.records(of.service).await?;
        let services = records.into_iter().map(|record| record.told().service.clone());
        let by_version: BTreeMap<_, _> =
            services.map(|service| ((service.name.clone(), service.version), service)).collect();
        Ok(Services { services: by_version.into_values().collect() })
    }

    async fn endpoints(&self, of: OfService) -> Result<Endpoints> {
        // Instances of a version should say the same; where they do not, the last one is
        // right.
        let mut endpoints = BTreeMap::new();
        for record in self.records(of.service).await? {
            let service = &record.told().service;
            for endpoint in &record.told().endpoints {
                let named = NamedEndpoint {
                    fq_name: format!("{}.{}", service.name, endpoint.name),
                    version: service.version,
                    mean: endpoint.mean.max(0).unsigned_abs(),
                    upper95: endpoint.upper95.max(0).unsigned_abs(),
                };
                endpoints.insert((named.fq_name.clone(), named.version), named);
            }
        }
        Ok(Endpoints { endpoints: endpoints.into_values().collect() })
    }

    async fn instances(&self, of: OfZone) -> Result<Instances> {
        let records = self.records(of.service_name).await?;
        let zone = of.az_name.unwrap_or_default();
        let here = records.iter().filter(|record| zone.is_empty() || record.told().az_name == zone);
        Ok(Instances { instances: here.map(shown).collect() })
    }

    /// What has registered here, of one service or of all.
    async fn records(&self, service: Option<String>) -> Result<Vec<Record>> {
        let query = match service.as_deref().unwrap_or_default() {
            "" => Query::all(),
            name => Query::service(ServiceName::parse(name)?),
        };
        records(&*self.registry, query, Filter::default()).await
    }
}

/// Instances of H2 in the registry.
pub(super) async fn records(
    registry: &dyn Registry,
    query: Query,
    filter: Filter,
) -> Result<Vec<Record>> {
    let presences = presences(registry, query, filter).await?;
    Ok(presences.iter().filter_map(|presence| Record::read(presence)).collect())
}

/// Instances that are reached through AMQP.
pub(super) async fn presences(
    registry: &dyn Registry,
    query: Query,
    filter: Filter,
) -> Result<Vec<Arc<Presence>>> {
    let query = query.with_filter(filter.with_transport(Transport::Amqp));
    match registry.resolve(&query).await {
        Ok(view) => Ok(view.instances.into_iter().map(|instance| instance.presence).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn shown(record: &Record) -> Instance {
    let told = record.told();
    Instance {
        instance_id: told.instance_id.clone(),
        hostname: told.hostname.clone(),
        service_name: told.service.name.clone(),
        service_description: told.service.description.clone(),
        service_version: told.service.version,
        az_name: told.az_name.clone(),
        sub_topic: record.topics().map(str::to_owned).collect(),
        machine_class: told.machine_class.clone(),
    }
}

/// The request, in the encoding it says.
fn asked<T: Message + Default + DeserializeOwned>(call: &Call) -> Result<T, CallError> {
    let unreadable = |why: String| CallError::new(ErrorKind::InvalidArgument.into(), why);
    match encoding(call) {
        Content::Protobuf => {
            T::decode(call.payload.clone()).map_err(|error| unreadable(error.to_string()))
        }
        Content::Json => json::read(&call.payload).map_err(unreadable),
    }
}

/// The answer, in the encoding of the request.
fn answer<T: Message + Serialize>(call: &Call, outcome: Result<T>) -> Result<Reply, CallError> {
    let told = outcome.map_err(|error| CallError::new(error.kind().into(), error.to_string()))?;
    let bytes = match encoding(call) {
        Content::Protobuf => told.encode_to_vec(),
        Content::Json => {
            json::write(&told).map_err(|why| CallError::new(CallErrorKind::Framework, why))?
        }
    };
    Ok(Reply::new(bytes.into()))
}

fn encoding(call: &Call) -> Content {
    Content::parse(&call.content_type).unwrap_or_default()
}
