//! What `/register` and `/update` carry: an owner and its services.
//!
//! Go's decoder does not mind the case of keys, so neither does this.

use portolan::thrift::idl;
use portolan::{Metadata, Owner, Route, ServiceName, ServiceSpec};
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
pub(super) fn services(object: &Map<String, Value>) -> Result<Vec<ServiceSpec>, Refusal> {
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
            Value::Object(declared) => service(&place, declared, name),
            _ => Err(Refusal::Services(format!("{place} must be an object"))),
        }
    });
    specs.collect()
}

fn service(
    place: &str,
    declared: &Map<String, Value>,
    owner_name: &str,
) -> Result<ServiceSpec, Refusal> {
    let text = |name: &str| optional_text(place, declared, name);
    let name = text("ServiceName")?;
    let name = ServiceName::parse(&name)
        .map_err(|error| wrong(format!("{place}.ServiceName"), error.message()))?;
    let idl_text = text("IdlContent")?;
    let routes = routes(place, declared)?;
    check_idl(place, &name, &idl_text, &routes)?;
    let facts = [("owner-name", owner_name.to_owned()), ("service-id", text("ServiceId")?)];
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    let metadata = Metadata::new(facts).map_err(|error| wrong(place, error.message()))?;
    let mut spec = ServiceSpec::new(name)
        .with_version(text("Version")?)
        .with_description(text("ServiceDescription")?)
        .with_idl(idl_text)
        .with_routes(routes);
    spec.metadata = metadata;
    Ok(spec)
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
fn check_idl(place: &str, name: &ServiceName, text: &str, routes: &[Route]) -> Result<(), Refusal> {
    let at = format!("{place}.IdlContent");
    let descriptor = idl::parse(text).map_err(|error| wrong(&at, error.to_string()))?;
    let Some(service) = descriptor.service(name.as_str()) else {
        let defined: Vec<_> = descriptor.services().collect();
        let reason = format!(
            "must define a service named {name} as ServiceName says; it defines: {}",
            defined.join(", ")
        );
        return Err(wrong(at, reason));
    };
    for (index, route) in routes.iter().enumerate() {
        if service.function(&route.method).is_none() {
            let known: Vec<_> = service.functions().collect();
            let reason = format!("must be a method of {name}: {}", known.join(", "));
            return Err(wrong(format!("{place}.Paths[{index}].ExposedMethod"), reason));
        }
    }
    Ok(())
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> Refusal {
    Refusal::Field(field.into(), reason.into())
}
