//! The registry as JSON: what the admin listener and the command line show.
//!
//! Keys are never part of it, not even as hashes.

use portolan::{
    Event, Explanation, Instance, Offer, Resolved, Scope, ServiceName, ServiceRecord, View,
    WatchItem,
};
use serde_json::{Value, json};

/// The answer to "who offers this service".
pub(crate) fn resolved(service: &ServiceName, resolved: &Resolved) -> Value {
    let scope = Scope::service(service.clone());
    let known = &resolved.followed;
    let line = |i: &Instance| {
        let mut line = instance(i, &scope);
        line["held"] = json!(known.is_held(&i.id));
        line
    };
    json!({
        "service": service,
        "revision": known.revision,
        "age_ms": u64::try_from(resolved.age.as_millis()).unwrap_or(u64::MAX),
        "held": known.held.len(),
        "instances": known.instances.iter().map(line).collect::<Vec<_>>(),
    })
}

/// Adds to [`resolved`] why each instance is called or not, by whoever calls.
/// Explanations are in the order of ids.
pub(crate) fn explain(resolved: &mut Value, explanations: &[Explanation]) {
    let instances = resolved["instances"].as_array_mut();
    for line in instances.into_iter().flatten() {
        let id = line["id"].as_str().unwrap_or_default();
        let place = explanations.binary_search_by(|about| about.id.as_str().cmp(id));
        let Some(about) = place.ok().and_then(|place| explanations.get(place)) else { continue };
        line["called"] = json!(about.verdict.to_string());
        line["in_flight"] = json!(about.in_flight);
        line["latency_us"] = json!(about.latency.map(|latency| latency.as_micros() as u64));
    }
}

/// The answer to "what is there": a line per service.
pub(crate) fn services(view: &View) -> Value {
    let mut names: Vec<_> = view.services.iter().map(|r| r.spec.name.clone()).collect();
    let offered = view.instances.iter().flat_map(|i| i.offers.iter());
    names.extend(offered.map(|offer| offer.service.clone()));
    names.sort();
    names.dedup();
    let lines = names.iter().map(|name| service_line(name, view));
    json!({"revision": view.revision, "services": lines.collect::<Vec<_>>()})
}

fn service_line(name: &ServiceName, view: &View) -> Value {
    let members = view.instances.iter().filter(|i| i.offer(name).is_some());
    let (routable, others): (Vec<_>, Vec<_>) = members.partition(|i| i.is_routable());
    let mut line = json!({
        "service": name,
        "routable": routable.len(),
        "instances": routable.len() + others.len(),
    });
    if let Some(record) = view.service(name) {
        line["owner"] = json!(record.owner);
        line["version"] = json!(record.spec.version);
        line["description"] = json!(record.spec.description);
        line["routes"] = json!(record.spec.routes);
    }
    line
}

/// The items of a watch, one object per line.
pub(crate) fn watched(item: &WatchItem, scope: &Scope) -> Vec<Value> {
    let revision = item.revision();
    match item {
        WatchItem::Reset(view) => {
            let instances: Vec<_> = view.instances.iter().map(|i| instance(i, scope)).collect();
            let services: Vec<_> = view.services.iter().map(|r| declared(r)).collect();
            vec![json!({
                "revision": revision, "event": "reset", "instances": instances, "services": services,
            })]
        }
        WatchItem::Changes { events, .. } => {
            let line = |event| {
                let mut line = changed(event, scope);
                line["revision"] = json!(revision);
                line
            };
            events.iter().map(line).collect()
        }
        WatchItem::Progress(_) => vec![json!({"revision": revision, "event": "progress"})],
    }
}

fn changed(event: &Event, scope: &Scope) -> Value {
    match event {
        Event::Health { id, epoch, health } => {
            json!({"event": "health", "id": id, "epoch": epoch, "health": health})
        }
        Event::Remove { id, epoch, cause } => {
            json!({"event": "remove", "id": id, "epoch": epoch, "cause": cause})
        }
        Event::Service(record) => json!({"event": "service", "service": declared(record)}),
        Event::ServiceRemoved { name } => json!({"event": "service-removed", "service": name}),
        Event::Upsert(i) => json!({"event": "upsert", "instance": instance(i, scope)}),
        // A later version of the registry may tell more.
        _ => json!({"event": "unknown"}),
    }
}

fn declared(record: &ServiceRecord) -> Value {
    json!({
        "service": record.spec.name,
        "owner": record.owner,
        "version": record.spec.version,
        "description": record.spec.description,
        "routes": record.spec.routes,
        "revision": record.revision,
    })
}

/// An instance, with its one offer for a scope of one service, else with all.
fn instance(instance: &Instance, scope: &Scope) -> Value {
    let mut value = json!({
        "id": instance.id,
        "epoch": instance.epoch,
        "phase": instance.phase,
        "health": instance.health,
    });
    match scope {
        Scope::Services(names) if names.len() == 1 => {
            if let Some(found) = instance.offer(&names[0]) {
                add_offer(&mut value, found);
            }
        }
        _ => {
            let offers = instance.offers.iter().map(|offer| {
                let mut value = json!({"service": offer.service});
                add_offer(&mut value, offer);
                value
            });
            value["offers"] = offers.collect();
        }
    }
    value
}

fn add_offer(value: &mut Value, offer: &Offer) {
    value["addresses"] = json!(offer.addresses);
    value["weight"] = json!(offer.weight);
    value["zone"] = json!(offer.zone);
    value["version"] = json!(offer.version);
    value["metadata"] = json!(offer.metadata);
}
