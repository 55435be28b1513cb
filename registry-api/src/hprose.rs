//! Servers as hprose peers write them down, in etcd v2 or v3.
//!
//! Source: the registry of hprose for Go (`registry/etcd`): a server stands at
//! `hprose-service/<domain>/<uuid>` as
//! `{"UUID":…,"Domain":…,"ServerUrl":…,"CPU":…}`, in this order and case, compact,
//! with `&`, `<` and `>` escaped. Its readers ignore case and further keys.

use std::fmt;
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::address::Address;
use crate::error::{Error, Result};
use crate::identity::{InstanceId, ServiceName};
use crate::instance::{InstanceSpec, Offer};
use crate::lease::LeaseTerms;
use crate::metadata::Metadata;

/// What all keys begin with.
pub const ROOT: &str = "hprose-service/";

/// How long a server is listed after it was last heard of: they beat every 3 s.
pub const TTL: Duration = Duration::from_secs(10);

/// The schemes an hprose client calls.
const SCHEMES: [&str; 7] = ["tcp", "tcp4", "tcp6", "http", "https", "ws", "wss"];
/// Services of this project's own, gateways among them, speak no hprose.
const OWN: &str = "portolan.";
/// Where the number of cores is kept.
const CPU: &str = "cpu";

/// A server's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Server {
    /// The id of the instance, the last segment of its key.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The service.
    #[serde(rename = "Domain")]
    pub domain: String,
    /// Where it is called.
    #[serde(rename = "ServerUrl")]
    pub url: String,
    /// Cores; clients do not use it.
    #[serde(rename = "CPU")]
    pub cpu: i64,
}

impl Server {
    /// An instance as hprose peers see it; `None` where its id is no segment of a
    /// key, or it offers no address that they could call, or is one of ours.
    pub fn of(id: &InstanceId, offer: &Offer) -> Option<Self> {
        if offer.service.as_str().starts_with(OWN) {
            return None;
        }
        let address = offer.addresses.iter().find(|address| is_callable(address))?;
        let cpu = offer.metadata.get(CPU).and_then(|cpu| cpu.parse().ok());
        (!id.as_str().contains('/')).then(|| Self {
            uuid: id.as_str().to_owned(),
            domain: offer.service.as_str().to_owned(),
            url: address.as_str().to_owned(),
            cpu: cpu.unwrap_or(1),
        })
    }

    /// Its key, without a slash before it.
    pub fn key(&self) -> String {
        format!("{ROOT}{}/{}", self.domain, self.uuid)
    }

    /// The service and the id that a key names, with or without a slash before it.
    pub fn parse_key(key: &str) -> Option<(ServiceName, InstanceId)> {
        let key = key.strip_prefix('/').unwrap_or(key);
        let (domain, uuid) = key.strip_prefix(ROOT)?.split_once('/')?;
        let named = ServiceName::parse(domain).ok().zip(InstanceId::parse(uuid).ok());
        named.filter(|_| !uuid.contains('/'))
    }

    /// What it offers. Errors: `InvalidArgument` for a name or address that cannot
    /// be one.
    pub fn offer(&self) -> Result<Offer> {
        let address = Address::parse(&self.url)?;
        if !is_callable(&address) {
            let rule = format!("must begin with one of {}", SCHEMES.join(", "));
            return Err(Error::invalid("ServerUrl", rule));
        }
        let offer = Offer::new(ServiceName::parse(&self.domain)?, address);
        Ok(offer.with_metadata(Metadata::new([(CPU, self.cpu.to_string())])?))
    }

    /// The instance it is.
    pub fn instance(&self) -> Result<InstanceSpec> {
        let terms = LeaseTerms::new(TTL, TTL)?;
        Ok(InstanceSpec::new(InstanceId::parse(&self.uuid)?, [self.offer()?]).with_terms(terms))
    }

    /// Refuses one whose key names another.
    pub fn check(self, service: &ServiceName, id: &InstanceId) -> Result<Self> {
        match self.uuid == id.as_str() && self.domain == service.as_str() {
            true => Ok(self),
            false => Err(Error::invalid("UUID", "must be what the key says, and Domain too")),
        }
    }
}

/// Whether an hprose client calls addresses of this scheme.
fn is_callable(address: &Address) -> bool {
    let scheme = address.as_str().split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| SCHEMES.contains(&scheme))
}

/// A JSON text as Go writes it: some characters escaped that need not be. They
/// stand in strings only.
pub fn as_go_writes(json: &str) -> String {
    let escapes = [
        ('&', "\\u0026"),
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    escapes
        .iter()
        .fold(json.to_owned(), |json, (character, escape)| json.replace(*character, escape))
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

/// Reads the fields in any order and case.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Server;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an hprose server")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Server, A::Error> {
        let mut server = Server::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key.to_ascii_lowercase() {
                "uuid" => server.uuid = map.next_value()?,
                "domain" => server.domain = map.next_value()?,
                "serverurl" => server.url = map.next_value()?,
                "cpu" => server.cpu = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fold_one_slash_and_name_both() {
        let parsed = Server::parse_key("/hprose-service/tcp.hello.server/fe09").unwrap();
        assert_eq!(parsed, Server::parse_key("hprose-service/tcp.hello.server/fe09").unwrap());
        assert_eq!((parsed.0.as_str(), parsed.1.as_str()), ("tcp.hello.server", "fe09"));
        for foreign in
            ["hprose-service/a", "hprose-service/a/", "hprose/a/b", "hprose-service/a/b/c"]
        {
            assert!(Server::parse_key(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn an_offer_round_trips_with_its_original_address() {
        let server = Server {
            uuid: "fe091d2b-1f58-4eee-a5af-e38ea3099686".to_owned(),
            domain: "tcp.hello.server".to_owned(),
            url: "tcp4://169.254.128.35:4321/".to_owned(),
            cpu: 8,
        };
        let spec = server.instance().unwrap();
        assert_eq!(Server::of(&spec.id, &spec.offers[0]), Some(server));
        let thrift = Address::parse("thrift://h:1").unwrap();
        let offer = Offer::new(ServiceName::parse("a").unwrap(), thrift);
        assert_eq!(Server::of(&spec.id, &offer), None);
    }
}
