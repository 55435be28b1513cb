//! What `/register` and `/update` carry: an owner and its services.
//!
//! Go's decoder does not mind the case of keys, so neither does this.

use std::time::Duration;

use portolan::grpc::descriptor;
use portolan::thrift::idl;
use portolan::{Endpoint, Metadata, Owner, Route, ServiceName, ServiceSpec, Sla};
use serde_json::{Map, Value};

use crate::json::{self, field};

/// Why a declaration is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not a JSON array of objects.
    Body(String),
    /// Its services are not a list of services.
    Services(String),
    /// A field is wrong: which, and why.
    Field(String, String),
}

/// The first element of the array in a body; the original looks at no other.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let value = json::parse(body).map_err(Refusal::Body)?;
    let Value::Array(elements) = value else {
        return Err(Refusal::Body("the body must be an array of one object".to_owned()));
    };
    if !elements.iter().all(Value::is_object) {
        return Err(Refusal::Body("every element of the body must be an object".to_owned()));
    }
    match elements.into_iter().next() {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(wrong("body", "must hold one owner")),
    }
}

/// The owner's id.
pub(super) fn owner(object: &Map<String, Value>) -> Result<Owner, Refusal> {
    let id = json::text(object, "OwnerId").ok_or_else(|| wrong("OwnerId", "must be text"))?;
    Owner::parse(id).map_err(|error| wrong("OwnerId", error.message()))
}

/// The services, each checked against its IDL.
pub(super) fn services(
    object: &Map<String, Value>,
    idls: &idl::Cache,
) -> Result<Vec<ServiceSpec>, Refusal> {
    let services = match field(object, "Services") {
        Some(Value::Array(services)) => services,
        Some(_) => return Err(Refusal::Services("Services must be an array".to_owned())),
        None => return Err(wrong("Services", "must name at least one service")),
    };
    if services.is_empty() {
        return Err(wrong("Services", "must name at least one service"));
    }
    let name = json::text(object, "OwnerName").unwrap_or_default();
    let specs = services.iter().enumerate().map(|(index, value)| {
        let place = format!("Services[{index}]");
        match value {
            Value::Object(declared) => service(&place, declared, name, idls),
            _ => Err(Refusal::Services(format!("{place} must be an object"))),
        }
    });
    specs.collect()
}

fn service(
    place: &str,
    declared: &Map<String, Value>,
    owner_name: &str,
    idls: &idl::Cache,
) -> Result<ServiceSpec, Refusal> {
    let text = |name: &str| optional_text(place, declared, name);
    let name = text("ServiceName")?;
    let name = ServiceName::parse(&name)
        .map_err(|error| wrong(format!("{place}.ServiceName"), error.message()))?;
    let routes = routes(place, declared)?;
    let endpoints = endpoints(place, declared)?;
    let facts = [("owner-name", owner_name.to_owned()), ("service-id", text("ServiceId")?)];
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    let metadata = Metadata::new(facts).map_err(|error| wrong(place, error.message()))?;
    let mut spec = ServiceSpec::new(name)
        .with_version(text("Version")?)
        .with_description(text("ServiceDescription")?)
        .with_idl(interface(place, declared)?)
        .with_idl_includes(includes(place, declared)?)
        .with_routes(routes)
        .with_endpoints(endpoints);
    spec.metadata = metadata;
    check_idl(place, &spec, idls, field(declared, "IdlContent").is_some())?;
    Ok(spec)
}

/// The Thrift IDL, or what stands in its place: a protobuf descriptor set, base64,
/// which is an extension of ours.
fn interface(place: &str, declared: &Map<String, Value>) -> Result<String, Refusal> {
    let idl = optional_text(place, declared, "IdlContent")?;
    let set = optional_text(place, declared, "DescriptorSet")?;
    match (idl.is_empty(), set.is_empty()) {
        (_, true) => Ok(idl),
        (true, false) => Ok(descriptor::Interface::to_idl(&set)),
        (false, false) => {
            Err(wrong(format!("{place}.DescriptorSet"), "must not be given beside IdlContent"))
        }
    }
}

/// The texts that the IDL includes, by name: an extension of ours.
fn includes(place: &str, declared: &Map<String, Value>) -> Result<idl::Includes, Refusal> {
    let texts = match field(declared, "IdlIncludes") {
        None | Some(Value::Null) => return Ok(idl::Includes::new()),
        Some(Value::Object(texts)) => texts,
        Some(_) => return Err(Refusal::Services(format!("{place}.IdlIncludes must be an object"))),
    };
    let text = |(name, text): (&String, &Value)| match text {
        Value::String(text) => Ok((name.clone(), text.clone())),
        _ => Err(Refusal::Services(format!("{place}.IdlIncludes.{name} must be text"))),
    };
    texts.iter().map(text).collect()
}

/// How long methods take, in milliseconds, and whether they may be run twice: an
/// extension of ours.
fn endpoints(place: &str, declared: &Map<String, Value>) -> Result<Vec<Endpoint>, Refusal> {
    let endpoints = match field(declared, "Endpoints") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(endpoints)) => endpoints,
        Some(_) => return Err(Refusal::Services(format!("{place}.Endpoints must be an array"))),
    };
    let endpoint = |(index, endpoint): (usize, &Value)| {
        let place = format!("{place}.Endpoints[{index}]");
        let Value::Object(endpoint) = endpoint else {
            return Err(Refusal::Services(format!("{place} must be an object")));
        };
        let milliseconds = |name: &str| {
            let number = field(endpoint, name).and_then(Value::as_u64);
            let number = number.filter(|number| (1..=3_600_000).contains(number));
            number.map(Duration::from_millis).ok_or_else(|| {
                wrong(format!("{place}.{name}"), "must be a number of milliseconds, up to an hour")
            })
        };
        let sla = Sla { mean: milliseconds("MeanMs")?, p95: milliseconds("P95Ms")? };
        let name = optional_text(&place, endpoint, "Name")?;
        let idempotent = match field(endpoint, "Idempotent") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(idempotent)) => *idempotent,
            Some(_) => return Err(wrong(format!("{place}.Idempotent"), "must be true or false")),
        };
        Ok(Endpoint { name, sla: Some(sla), roles: Vec::new(), idempotent })
    };
    endpoints.iter().enumerate().map(endpoint).collect()
}

fn optional_text(
    place: &str,
    declared: &Map<String, Value>,
    name: &str,
) -> Result<String, Refusal> {
    match field(declared, name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Refusal::Services(format!("{place}.{name} must be text"))),
    }
}

fn routes(place: &str, declared: &Map<String, Value>) -> Result<Vec<Route>, Refusal> {
    let paths = match field(declared, "Paths") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(paths)) => paths,
        Some(_) => return Err(Refusal::Services(format!("{place}.Paths must be an array"))),
    };
    let route = |(index, path): (usize, &Value)| {
        let place = format!("{place}.Paths[{index}]");
        let Value::Object(path) = path else {
            return Err(Refusal::Services(format!("{place} must be an object")));
        };
        let segment = optional_text(&place, path, "MethodPath")?;
        let segment = segment.trim_start_matches('/').to_owned();
        if segment.is_empty() || segment.contains('/') {
            return Err(wrong(format!("{place}.MethodPath"), "must be one segment of a path"));
        }
        let method = optional_text(&place, path, "ExposedMethod")?;
        Ok(Route { path: segment, method })
    };
    paths.iter().enumerate().map(route).collect()
}

/// Checks the IDL now: a broken one must not surface when somebody calls.
fn check_idl(
    place: &str,
    spec: &ServiceSpec,
    idls: &idl::Cache,
    is_there: bool,
) -> Result<(), Refusal> {
    let (at, name) = (format!("{place}.IdlContent"), &spec.name);
    if descriptor::Interface::is_meant(&spec.idl) {
        return check_descriptors(place, spec);
    }
    if spec.idl.is_empty() && !is_there {
        return no_methods(place, spec);
    }
    let descriptor = idls.get(&spec.idl, &spec.idl_includes);
    let descriptor = descriptor.map_err(|error| wrong(&at, error.to_string()))?;
    let Some(service) = descriptor.service(name.as_str()) else {
        let defined: Vec<_> = descriptor.services().collect();
        let reason = format!(
            "must define a service named {name} as ServiceName says; it defines: {}",
            defined.join(", ")
        );
        return Err(wrong(at, reason));
    };
    let known: Vec<_> = service.functions().map(ToString::to_string).collect();
    check_methods(place, spec, &known)
}

fn check_descriptors(place: &str, spec: &ServiceSpec) -> Result<(), Refusal> {
    let interface = descriptor::Interface::parse(&spec.idl, spec.name.as_str());
    let interface = interface.map_err(|reason| wrong(format!("{place}.DescriptorSet"), reason))?;
    check_methods(place, spec, &interface.methods())
}

/// A service that declares no interface is called over gRPC, with bodies as they
/// are. It has no methods that paths could stand for.
fn no_methods(place: &str, spec: &ServiceSpec) -> Result<(), Refusal> {
    match spec.routes.is_empty() {
        true => Ok(()),
        false => Err(wrong(format!("{place}.Paths"), "need IdlContent or DescriptorSet")),
    }
}

/// Whether what paths and endpoints name is there.
fn check_methods(place: &str, spec: &ServiceSpec, known: &[String]) -> Result<(), Refusal> {
    let paths = spec.routes.iter().enumerate();
    let paths = paths.map(|(n, route)| (&route.method, format!("Paths[{n}].ExposedMethod")));
    let endpoints = spec.endpoints.iter().enumerate();
    let endpoints = endpoints.map(|(n, e)| (&e.name, format!("Endpoints[{n}].Name")));
    for (method, field) in paths.chain(endpoints) {
        if !known.contains(method) {
            let reason = format!("must be a method of {}: {}", spec.name, known.join(", "));
            return Err(wrong(format!("{place}.{field}"), reason));
        }
    }
    Ok(())
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> Refusal {
    Refusal::Field(field.into(), reason.into())
}
