//! What is written below the keys: JSON with a format number.

use std::sync::Arc;

use registry_api::kernel::{Edit, HealthChange, Judgement};
use registry_api::{
    Cause, Epoch, Health, InstanceId, KeyHash, LeaseTerms, Offer, Owner, Phase, Presence, Revision,
    ServiceName, ServiceRecord, ServiceSpec,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format that is written. Another one is not understood.
const FORMAT: u32 = 1;

/// Below `ids/`: an instance without what it offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) epoch: Epoch,
    pub(crate) terms: LeaseTerms,
    pub(crate) phase: Phase,
    /// What it offers, in its order.
    pub(crate) services: Vec<ServiceName>,
}

/// Below `instances/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offered {
    pub(crate) epoch: Epoch,
    pub(crate) offer: Offer,
}

/// Below `services/`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Declared {
    spec: ServiceSpec,
    owner: Owner,
    keys: Arc<[KeyHash]>,
}

/// Below `owners/`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Owned {
    pub(crate) services: Vec<ServiceName>,
}

/// At `commit`: who left with this write. Whose keys go without being named
/// here was silent for too long.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Commit {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<InstanceId>,
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Read {
    format: u32,
}

/// A record as its value.
pub(crate) fn write<T: Serialize>(record: &T) -> Vec<u8> {
    // Maps with text keys, lists and numbers: there is nothing that could fail.
    serde_json::to_vec(&Written { format: FORMAT, record }).unwrap_or_default()
}

/// The record in a value, if it is one of ours.
pub(crate) fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    let read: Read = serde_json::from_slice(value).ok()?;
    (read.format == FORMAT).then(|| serde_json::from_slice(value).ok()).flatten()
}

impl Holder {
    pub(crate) fn of(presence: &Presence) -> Self {
        Self {
            epoch: presence.epoch,
            terms: presence.terms,
            phase: presence.phase,
            services: presence.offers.iter().map(|offer| offer.service.clone()).collect(),
        }
    }

    /// The whole record, with the offers that are there.
    pub(crate) fn presence<'a>(
        &self,
        id: &InstanceId,
        revision: Revision,
        offer: impl Fn(&ServiceName) -> Option<&'a Offered>,
    ) -> Presence {
        let known = |service| offer(service).filter(|offered| offered.epoch == self.epoch);
        let offers = self.services.iter().filter_map(known);
        let spec = registry_api::InstanceSpec::new(
            id.clone(),
            offers.map(|offered| offered.offer.clone()),
        );
        let spec = spec.with_terms(self.terms).with_phase(self.phase);
        Presence::new(&spec, self.epoch, revision)
    }
}

impl Declared {
    pub(crate) fn of(record: &ServiceRecord) -> Self {
        Self {
            spec: record.spec.clone(),
            owner: record.owner.clone(),
            keys: Arc::clone(&record.keys),
        }
    }

    /// The record, if it says it is `name`.
    pub(crate) fn record(self, name: &ServiceName, revision: Revision) -> Option<ServiceRecord> {
        let Self { spec, owner, keys } = self;
        (spec.name == *name).then_some(ServiceRecord { spec, owner, keys, revision })
    }
}

/// The seconds of the leases: of presence, and of being online where that is a
/// lease of its own.
pub(crate) fn seconds(terms: LeaseTerms) -> (i64, Option<i64>) {
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let (ttl, ttd) = (seconds(terms.ttl()), seconds(terms.ttd()));
    (ttd, (ttl < ttd).then_some(ttl))
}

/// The health of an instance that is there: with one lease it is online as long.
pub(crate) fn health(terms: LeaseTerms, is_alive: bool) -> Health {
    match is_alive || seconds(terms).1.is_none() {
        true => Health::Online,
        false => Health::Offline,
    }
}

/// Why an instance went: a foreign record, one whose holder left, one that was
/// silent for too long.
pub(crate) fn cause(is_foreign: bool, has_left: bool) -> Cause {
    match (is_foreign, has_left) {
        (true, _) => Cause::Unknown,
        (false, true) => Cause::Deregistered,
        (false, false) => Cause::Expired,
    }
}

/// What became of an instance, as its keys were and are. `cause` is why it went,
/// if it did.
pub(crate) fn edit(
    before: Option<Arc<Presence>>,
    after: Option<Arc<Presence>>,
    cause: Cause,
) -> Option<Edit> {
    let cause = if after.is_some() { Cause::Superseded } else { cause };
    (before != after).then_some(Edit::Instance { before, after, cause })
}

/// What is to be told of an instance whose record stayed as it was.
pub(crate) fn judged(
    presence: &Arc<Presence>,
    told: Health,
    health: Health,
) -> Option<HealthChange> {
    (told != health).then(|| HealthChange { presence: Arc::clone(presence), health })
}

/// What is to be said of a life to whoever beats for it.
pub(crate) fn standing(is_online: bool) -> Judgement {
    Judgement::Present(if is_online { Health::Online } else { Health::Offline })
}
