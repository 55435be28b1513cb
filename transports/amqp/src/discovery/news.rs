//! Who came and who went, for whoever in H2 reads the topics of discovery: the binding
//! service was one, and tools are.

use std::collections::HashMap;

use prost::Message;
use registry_api::Result;

use super::record::Record;
use crate::bus::{Bus, patient, patiently};
use crate::content::Content;
use crate::message::publication;
use crate::names::Prefix;
use crate::reach::topics;

/// An instance, as both topics tell of it. Field numbers: HailoOSS `discovery-service`
/// at 1bd406c, `proto/serviceup` and `proto/servicedown`.
#[derive(Clone, PartialEq, Message)]
struct Instance {
    #[prost(string, required, tag = "1")]
    instance_id: String,
    #[prost(string, required, tag = "2")]
    hostname: String,
    #[prost(string, required, tag = "3")]
    service_name: String,
    #[prost(string, optional, tag = "4")]
    service_description: Option<String>,
    #[prost(uint64, required, tag = "5")]
    service_version: u64,
    #[prost(string, optional, tag = "6")]
    endpoint_name: Option<String>,
    #[prost(string, required, tag = "7")]
    az_name: String,
    /// Of who came: the topic of every endpoint, empty for those that read none.
    #[prost(string, repeated, tag = "8")]
    sub_topic: Vec<String>,
}

/// What was told over one connection.
pub(super) struct News {
    prefix: Prefix,
    /// None until it was first looked: who is there then is no news.
    told: Option<HashMap<String, Instance>>,
}

impl News {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix, told: None }
    }

    /// Tells of who came and who went since it was last asked. Where several run
    /// discovery on one registry, each tells it.
    pub(super) async fn publish(&mut self, there: &[Record], bus: &Bus) -> Result<()> {
        let now: HashMap<_, _> =
            there.iter().map(|record| (record.queue().to_owned(), up(record))).collect();
        let Some(before) = self.told.replace(now.clone()) else { return Ok(()) };
        let came = now.iter().filter(|(id, _)| !before.contains_key(*id));
        let went = before.iter().filter(|(id, _)| !now.contains_key(*id));
        let came = came.map(|(_, instance)| ("serviceup", instance.clone()));
        let went = went.map(|(_, instance)| {
            let down = Instance { sub_topic: Vec::new(), ..instance.clone() };
            ("servicedown", down)
        });
        let news: Vec<_> = came.chain(went).collect();
        if !news.is_empty() {
            patiently(topics(bus.connection())).await?;
        }
        for (name, instance) in news {
            let topic = self.prefix.name(&format!("kernel.discovery.{name}"));
            let properties = publication(&topic, "", "", Content::Protobuf);
            let outlet = bus.outlet();
            patient(outlet.publish(&topic, properties, &instance.encode_to_vec())).await?;
        }
        Ok(())
    }
}

fn up(record: &Record) -> Instance {
    let told = record.told();
    let topic = |endpoint: &super::model::Endpoint| endpoint.subscribe.clone().unwrap_or_default();
    Instance {
        instance_id: told.instance_id.clone(),
        hostname: told.hostname.clone(),
        service_name: told.service.name.clone(),
        service_description: told.service.description.clone(),
        service_version: told.service.version,
        endpoint_name: Some(String::new()),
        az_name: told.az_name.clone(),
        sub_topic: told.endpoints.iter().map(topic).collect(),
    }
}
