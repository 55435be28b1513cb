//! `kitex/registry-etcd/<service>/<ip:port>`, and the same below `hertz/`.
//!
//! Source: kitex-contrib/registry-etcd and hertz-contrib/registry. The value is
//! `{"network":"tcp","address":"ip:port","weight":10,"tags":{…}}`, `tags` null
//! where there are none. A weight of 0 or less counts as 10. The address is the id:
//! whoever serves several services there is one instance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use registry_api::hprose::as_go_writes;
use registry_api::{
    Address, InstanceId, LeaseTerms, Metadata, Offer, ServiceName, Target, Transport,
};
use serde::{Deserialize, Serialize};

/// The lease of theirs.
const TTL: Duration = Duration::from_secs(60);
const WEIGHT: i64 = 10;

#[derive(Serialize, Deserialize)]
struct Value {
    #[serde(default)]
    network: String,
    address: String,
    #[serde(default)]
    weight: i64,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

/// What follows the prefix of a key.
pub(super) fn named(key: &str) -> Option<(ServiceName, InstanceId)> {
    let (service, address) = key.split_once('/')?;
    ServiceName::parse(service).ok().zip(InstanceId::parse(address).ok())
}

pub(super) fn terms() -> LeaseTerms {
    LeaseTerms::new(TTL, TTL).unwrap_or_default()
}

pub(super) fn read(service: &ServiceName, id: &InstanceId, value: &[u8]) -> Option<Offer> {
    let value: Value = serde_json::from_slice(value).ok()?;
    if value.address != id.as_str() || value.network == "unix" {
        return None;
    }
    let address = Address::parse(&format!("thrift://{}", value.address)).ok()?;
    let weight = if value.weight > 0 { value.weight } else { WEIGHT };
    let offer = Offer::new(service.clone(), address);
    let offer = offer.with_weight(u32::try_from(weight).unwrap_or(u32::MAX));
    Some(offer.with_metadata(Metadata::new(value.tags.unwrap_or_default()).ok()?))
}

pub(super) fn copy(prefix: &str, offer: &Offer) -> Option<(String, Vec<u8>)> {
    // Their readers resolve no names.
    let address = offer.addresses.iter().find_map(|address| match address.target() {
        Target::Host { host, port } if address.transport() == Transport::Thrift => {
            let ip = host.trim_matches(['[', ']']).parse().ok()?;
            Some(SocketAddr::new(ip, port).to_string())
        }
        _ => None,
    })?;
    let tags: BTreeMap<_, _> =
        offer.metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let value = Value {
        network: "tcp".to_owned(),
        address,
        weight: i64::from(offer.weight.0),
        tags: (!tags.is_empty()).then_some(tags),
    };
    let json = serde_json::to_string(&value).ok()?;
    let key = format!("{prefix}{}/{}", offer.service, value.address);
    Some((key, as_go_writes(&json).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_byte_for_byte_theirs() {
        let theirs = br#"{"network":"tcp","address":"10.0.0.1:8888","weight":10,"tags":null}"#;
        let (service, id) = named("user.service/10.0.0.1:8888").unwrap();
        let offer = read(&service, &id, theirs).unwrap();
        assert_eq!(offer.addresses[0].as_str(), "thrift://10.0.0.1:8888");
        let (key, value) = copy("kitex/registry-etcd/", &offer).unwrap();
        assert_eq!(key, "kitex/registry-etcd/user.service/10.0.0.1:8888");
        assert_eq!(String::from_utf8_lossy(&value), String::from_utf8_lossy(theirs));
    }

    #[test]
    fn weights_and_tags_are_theirs_and_nonsense_is_nothing() {
        let (service, id) = named("s/1.2.3.4:5").unwrap();
        let read = |text: &str| read(&service, &id, text.as_bytes());
        let tagged =
            read(r#"{"network":"tcp","address":"1.2.3.4:5","weight":-1,"tags":{"zone":"a"}}"#);
        let tagged = tagged.unwrap();
        assert_eq!((tagged.weight.0, tagged.metadata.get("zone")), (10, Some("a")));
        for bad in [
            "",
            "null",
            r#"{"address":"1.2.3.4:6"}"#,
            r#"{"network":"unix","address":"1.2.3.4:5"}"#,
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
