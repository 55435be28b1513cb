//! The nouns of the cases, short enough to read a case like a sentence.

use registry_api::{
    Address, Beat, Epoch, Event, InstanceId, InstanceRef, InstanceSpec, Lease, LeaseTerms, Offer,
    Owner, Query, Registration, RegistrationMode, Scope, ServiceName, ServiceSpec, WatchItem,
};

use crate::failure::Failure;

/// A service name. The literals of the cases follow the grammar.
pub fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("a literal that follows the grammar")
}

/// An instance id.
pub fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).expect("a literal that follows the grammar")
}

/// An owner.
pub fn owner(text: &str) -> Owner {
    Owner::parse(text).expect("a literal that follows the grammar")
}

/// An address.
pub fn address(text: &str) -> Address {
    Address::parse(text).expect("a literal that follows the grammar")
}

/// An offer of `name` at some address.
pub fn offer(name: &str) -> Offer {
    Offer::new(service(name), address("thrift://10.0.0.1:9000"))
}

/// An instance of one service, at epoch 1.
pub fn instance(text: &str, name: &str, terms: LeaseTerms) -> InstanceSpec {
    offering(text, [offer(name)], terms)
}

/// An instance with these offers, at epoch 1.
pub fn offering(
    text: &str,
    offers: impl IntoIterator<Item = Offer>,
    terms: LeaseTerms,
) -> InstanceSpec {
    InstanceSpec::new(id(text), offers).with_epoch(Epoch(1)).with_terms(terms)
}

/// A beat without a token, as HTTP callers send it.
pub fn beat(text: &str, epoch: u64) -> Beat {
    Beat { id: id(text), epoch: Epoch(epoch), token: None }
}

/// A reference to one life.
pub fn life(text: &str, epoch: u64) -> InstanceRef {
    InstanceRef { id: id(text), epoch: Epoch(epoch) }
}

/// A registration of services without any detail.
pub fn registration(by: &str, mode: RegistrationMode, names: &[&str]) -> Registration {
    let specs = names.iter().map(|name| ServiceSpec::new(service(name)));
    Registration::new(owner(by), mode, specs.collect())
}

/// The scope of one service.
pub fn scope(name: &str) -> Scope {
    Scope::service(service(name))
}

/// The query for one service.
pub fn query(name: &str) -> Query {
    Query::service(service(name))
}

/// The only entry of a batch of one that must have succeeded.
pub fn granted(
    answers: registry_api::Result<Vec<registry_api::Result<Lease>>>,
) -> Result<Lease, Failure> {
    let mut answers = answers?.into_iter();
    let first = answers.next().ok_or_else(|| Failure::new("a batch of one had no answer"))?;
    Ok(first?)
}

/// The events of an item that must be a change.
pub fn events(item: WatchItem) -> Result<Vec<Event>, Failure> {
    match item {
        WatchItem::Changes { events, .. } => Ok(events),
        WatchItem::Reset(_) | WatchItem::Progress(_) => {
            Err(Failure::new(format!("a change was due, saw {item:?}")))
        }
    }
}
