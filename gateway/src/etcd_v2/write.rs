//! `PUT` and `DELETE`: a server joins, beats, and leaves.

use std::time::Duration;

use axum::response::Response;
use portolan::hprose::Server;
use portolan::{
    Beat, BeatOutcome, ErrorKind, Instance, InstanceId, InstanceRef, InstanceSpec, LeaseTerms,
    Offer, Query, RegistryExt, Revision, ServiceName, Target, View,
};

use super::EtcdV2;
use super::answer::Refusal;
use super::event::{Entry, value_of};
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
    let lasts = Duration::from_secs(ttl.into());
    let terms = LeaseTerms::new(lasts, lasts);
    let terms = terms.map_err(|error| Refusal::field(error.to_string()))?;
    let offer = server.offer().map_err(|error| Refusal::field(error.to_string()))?;
    let written = join(&state.plane, &Put { service, id, offer, terms }).await?;
    let action = match must_exist {
        None => "set",
        Some(true) => "update",
        Some(false) => "create",
    };
    let entry = Entry::written(value, lasts, written);
    Ok(state.face.put(action, (service, id), entry, listed.is_some()))
}

pub(super) async fn delete(state: &EtcdV2, place: &Place) -> Result<Response, Refusal> {
    let missing = || Refusal::not_found(&place.key());
    let Place::Server(service, id) = place else { return Err(Refusal::no_file(place.key())) };
    state.face.entry(service, id).ok_or_else(missing)?;
    open_to_all(&state.plane, service).await?;
    if let Some(found) = theirs(&state.plane, id).await? {
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
    let view = open_to_all(plane, put.service).await?;
    let granted = plane.registry.info().limits.grant(put.terms).unwrap_or(put.terms);
    let same =
        |found: &&Instance| found.terms == granted && found.offer(put.service) == Some(&put.offer);
    if let Some(found) = view.as_ref().and_then(|view| view.instance(put.id)).filter(same) {
        let beat = Beat { id: put.id.clone(), epoch: found.epoch, token: None };
        let beaten = plane.registry.heartbeat_one(beat).await;
        let outcome = beaten.map_err(|error| Refusal::registry(&error))?;
        // Else it went meanwhile.
        if matches!(outcome, BeatOutcome::Renewed | BeatOutcome::Revived) {
            return Ok(found.revision);
        }
    }
    may_be_called(plane, &put.offer)?;
    let found = theirs(plane, put.id).await?;
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

/// The instance with this id, if there is one. One that joined another way is not
/// to be changed from here.
async fn theirs(plane: &Plane, id: &InstanceId) -> Result<Option<Instance>, Refusal> {
    let view = known(plane, Query::instance(id.clone())).await?;
    let found = view.and_then(|view| view.instances.into_iter().next());
    let other = |found: &Instance| {
        let other = found.offers.iter().find(|offer| Server::of(id, offer).is_none());
        other.map(|offer| Refusal::not_his(key_of(&offer.service, id)))
    };
    match found.as_ref().and_then(other) {
        Some(refusal) => Err(refusal),
        None => Ok(found),
    }
}

/// A service, if it is known. Nobody shows a key here, so services with keys are
/// for those who do.
async fn open_to_all(plane: &Plane, service: &ServiceName) -> Result<Option<View>, Refusal> {
    let view = known(plane, Query::service(service.clone())).await?;
    let record = view.as_ref().and_then(|view| view.service(service));
    match record.is_some_and(|record| !record.keys.is_empty()) {
        true => Err(Refusal::not_his(Place::Domain(service.clone()).key())),
        false => Ok(view),
    }
}

async fn known(plane: &Plane, query: Query) -> Result<Option<View>, Refusal> {
    match plane.registry.resolve(&query).await {
        Ok(view) => Ok(Some(view)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
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
