//! What discovery is asked and answers. Field numbers: HailoOSS `discovery-service` at
//! 1bd406c, `proto/`. In JSON a field has its name there, and what is not set is left
//! out.

use prost::Message;
use serde::{Deserialize, Serialize};

/// An instance that registers all it has at once. It is sent to leave, too, of which
/// only the id is read.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MultiRequest {
    #[prost(string, required, tag = "1")]
    pub(crate) instance_id: String,
    #[prost(string, required, tag = "2")]
    pub(crate) hostname: String,
    #[prost(string, required, tag = "3")]
    pub(crate) az_name: String,
    #[prost(message, required, tag = "4")]
    pub(crate) service: Service,
    #[prost(message, repeated, tag = "5")]
    pub(crate) endpoints: Vec<Endpoint>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) machine_class: Option<String>,
}

/// A program, of which there are instances.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Service {
    #[prost(string, required, tag = "1")]
    pub(crate) name: String,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[prost(uint64, required, tag = "3")]
    pub(crate) version: u64,
    #[prost(string, required, tag = "4")]
    pub(crate) source: String,
    #[prost(string, required, tag = "5")]
    pub(crate) owner_email: String,
    #[prost(string, required, tag = "6")]
    pub(crate) owner_mobile: String,
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner_team: Option<String>,
}

/// What can be asked of a service, and how fast it says it is, in milliseconds.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Endpoint {
    #[prost(string, required, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, required, tag = "2")]
    pub(crate) mean: i32,
    #[prost(int32, required, tag = "3")]
    pub(crate) upper95: i32,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscribe: Option<String>,
}

/// An answer with nothing in it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
pub(crate) struct Done {}

/// Asks about one service, or all of them.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OfService {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Services {
    #[prost(message, repeated, tag = "1")]
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoints {
    #[prost(message, repeated, tag = "1")]
    pub(crate) endpoints: Vec<NamedEndpoint>,
}

/// An endpoint with the name of its service before its own.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NamedEndpoint {
    #[prost(string, required, tag = "1")]
    pub(crate) fq_name: String,
    #[prost(uint64, required, tag = "2")]
    pub(crate) version: u64,
    #[prost(uint32, required, tag = "3")]
    pub(crate) mean: u32,
    #[prost(uint32, required, tag = "4")]
    pub(crate) upper95: u32,
}

/// Asks for the instances of one service, or all, in one zone, or all.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OfZone {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) az_name: Option<String>,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_name: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Instances {
    #[prost(message, repeated, tag = "1")]
    pub(crate) instances: Vec<Instance>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Instance {
    #[prost(string, required, tag = "1")]
    pub(crate) instance_id: String,
    #[prost(string, required, tag = "2")]
    pub(crate) hostname: String,
    #[prost(string, required, tag = "3")]
    pub(crate) service_name: String,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_description: Option<String>,
    #[prost(uint64, required, tag = "5")]
    pub(crate) service_version: u64,
    #[prost(string, required, tag = "6")]
    pub(crate) az_name: String,
    /// The topics it reads.
    #[prost(string, repeated, tag = "7")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sub_topic: Vec<String>,
    #[prost(string, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) machine_class: Option<String>,
}
