//! `PUT` and `DELETE`: a server joins, beats, and leaves.

use axum::response::Response;
use portolan::hprose::Server;
use portolan::{
    Beat, BeatOutcome, ErrorKind, Instance, InstanceId, InstanceRef, InstanceSpec, LeaseTerms,
    Offer, Query, RegistryExt, Revision, ServiceName, Target,
};

use super::EtcdV2;
use super::answer::Refusal;
use super::event::{Entry, value_of};
use super::face::seconds;
use super::request::{Parameters, Place, key_of};
use crate::control::Plane;

/// What a `PUT` asks for.
struct Put<'a> {
    service: &'a ServiceName,
    id: &'a InstanceId,
    offer: Offer,
    terms: LeaseTerms,
}

pub(super) async fn put(
    state: &EtcdV2,
    place: &Place,
    parameters: &Parameters,
) -> Result<Response, Refusal> {
    let Place::Server(service, id) = place else { return Err(Refusal::no_file(place.key())) };
    let must_exist = parameters.choice("prevExist")?;
    let ttl = parameters.ttl()?;
    let listed = state.face.entry(service, id);
    match (must_exist, &listed) {
        (Some(true), None) => return Err(Refusal::not_found(&place.key())),
        (Some(false), Some(_)) => return Err(Refusal::exists(place.key())),
        _ => {}
    }
    let value = match &listed {
        Some(listed) if parameters.flag("refresh")? => listed.value.clone(),
        _ => checked(service, id, parameters.text("value").unwrap_or_default())?,
    };
    let ttl = ttl.filter(|ttl| *ttl > 0);
    let ttl = ttl.ok_or_else(|| Refusal::field("ttl must be given, in seconds".to_owned()))?;
    let server: Server = serde_json::from_str(&value).map_err(|_| not_a_server())?;
    let terms = LeaseTerms::new(seconds(ttl), seconds(ttl));
    let terms = terms.map_err(|error| Refusal::field(error.to_string()))?;
    let offer = server.offer().map_err(|error| Refusal::field(error.to_string()))?;
    let written = join(&state.plane, &Put { service, id, offer, terms }).await?;
    let action = match must_exist {
        None => "set",
        Some(true) => "update",
        Some(false) => "create",
    };
    Ok(state.face.put(action, service, id, Entry::written(value, seconds(ttl), written)))
}

pub(super) async fn delete(state: &EtcdV2, place: &Place) -> Result<Response, Refusal> {
    let missing = || Refusal::not_found(&place.key());
    let Place::Server(service, id) = place else { return Err(Refusal::no_file(place.key())) };
    state.face.entry(service, id).ok_or_else(missing)?;
    let found = instance(&state.plane, id).await?;
    if let Some(found) = found {
        let found = theirs(found, id)?;
        may_write(&state.plane, service).await?;
        leave(&state.plane, &found, service).await.map_err(|error| Refusal::registry(&error))?;
    }
    state.face.unlist(service, id).ok_or_else(missing)
}

/// The value, if it is a server and the one that the key names.
fn checked(service: &ServiceName, id: &InstanceId, value: &str) -> Result<String, Refusal> {
    let server: Server = serde_json::from_str(value).map_err(|_| not_a_server())?;
    let server = server.check(service, id).map_err(|error| Refusal::field(error.to_string()))?;
    Ok(value_of(&server))
}

fn not_a_server() -> Refusal {
    let rule = r#"value must be {"UUID":…,"Domain":…,"ServerUrl":…,"CPU":…}"#;
    Refusal::field(rule.to_owned())
}

/// Beats where nothing else is asked for, else joins or changes what is there. The
/// revision at which it is there.
async fn join(plane: &Plane, put: &Put<'_>) -> Result<Revision, Refusal> {
    let found = instance(plane, put.id).await?;
    if let Some(found) = &found
        && found.terms == plane.registry.info().limits.grant(put.terms).unwrap_or(put.terms)
        && found.offer(put.service) == Some(&put.offer)
    {
        let beat = Beat { id: put.id.clone(), epoch: found.epoch, token: None };
        let beaten = plane.registry.heartbeat_one(beat).await;
        let outcome = beaten.map_err(|error| Refusal::registry(&error))?;
        // Else it went meanwhile.
        if matches!(outcome, BeatOutcome::Renewed | BeatOutcome::Revived) {
            return Ok(found.revision);
        }
    }
    may_write(plane, put.service).await?;
    may_be_called(plane, &put.offer)?;
    let found = found.map(|found| theirs(found, put.id)).transpose()?;
    let others = found.iter().flat_map(|found| found.offers.iter());
    let others = others.filter(|offer| offer.service != *put.service).cloned();
    let spec = InstanceSpec::new(put.id.clone(), others.chain([put.offer.clone()]));
    let mut spec = spec.with_terms(put.terms);
    spec.epoch = found.map(|found| found.epoch);
    let joined = plane.registry.connect_one(spec).await;
    joined.map(|lease| lease.revision).map_err(|error| Refusal::registry(&error))
}

/// Takes a domain from what an instance offers; without any it leaves.
async fn leave(plane: &Plane, found: &Instance, service: &ServiceName) -> portolan::Result<()> {
    let others: Vec<_> =
        found.offers.iter().filter(|offer| offer.service != *service).cloned().collect();
    if others.is_empty() {
        let life = InstanceRef { id: found.id.clone(), epoch: found.epoch };
        return plane.registry.disconnect(&[life]).await;
    }
    let spec = InstanceSpec::new(found.id.clone(), others);
    let spec = spec.with_terms(found.terms).with_epoch(found.epoch);
    plane.registry.connect_one(spec).await.map(drop)
}

async fn instance(plane: &Plane, id: &InstanceId) -> Result<Option<Instance>, Refusal> {
    match plane.registry.resolve(&Query::instance(id.clone())).await {
        Ok(view) => Ok(view.instances.into_iter().next()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::registry(&error)),
    }
}

/// An instance that joined another way is not to be changed from here.
fn theirs(found: Instance, id: &InstanceId) -> Result<Instance, Refusal> {
    match found.offers.iter().find(|offer| Server::of(id, offer).is_none()) {
        None => Ok(found),
        Some(offer) => Err(Refusal::not_his(key_of(&offer.service, id))),
    }
}

/// Nobody shows a key here, so services with keys are for those who do.
async fn may_write(plane: &Plane, service: &ServiceName) -> Result<(), Refusal> {
    match plane.registry.resolve(&Query::service(service.clone())).await {
        Ok(view) if view.service(service).is_some_and(|record| !record.keys.is_empty()) => {
            Err(Refusal::not_his(Place::Domain(service.clone()).key()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Refusal::registry(&error)),
    }
}

/// Whether the policy lets its address be called.
fn may_be_called(plane: &Plane, offer: &Offer) -> Result<(), Refusal> {
    for address in offer.addresses.iter() {
        let Target::Host { host, port } = address.target() else { continue };
        let checked = plane.policy.check_host(host, port);
        checked.map_err(|refusal| Refusal::field(format!("ServerUrl {refusal}")))?;
    }
    Ok(())
}
