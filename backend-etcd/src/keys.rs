//! The keys of a namespace.
//!
//! ```text
//! PREFIX/NAMESPACE/era                    which history this is
//! PREFIX/NAMESPACE/commit                 the last write, and who left with it
//! PREFIX/NAMESPACE/owners/OWNER           which services an owner declared
//! PREFIX/NAMESPACE/services/SERVICE       a declaration
//! PREFIX/NAMESPACE/ids/ID                 an instance, on its lease of ttd
//! PREFIX/NAMESPACE/instances/SERVICE/ID   what it offers, on the same lease
//! PREFIX/NAMESPACE/alive/ID               that it is online, on a lease of ttl
//! ```
//!
//! Ids and owners come last, so that they may hold any character.

use registry_api::{InstanceId, Owner, ServiceName};

/// Writes and reads the keys below one root.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    root: String,
}

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Alive(InstanceId),
    Commit,
    Era,
    Id(InstanceId),
    Offer(ServiceName, InstanceId),
    Owner,
    Service(ServiceName),
}

impl Keys {
    pub(crate) fn new(root: String) -> Self {
        Self { root }
    }

    /// What all keys begin with.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) fn alive(&self, id: &InstanceId) -> String {
        self.of("alive", id.as_str())
    }

    pub(crate) fn commit(&self) -> String {
        format!("{}commit", self.root)
    }

    pub(crate) fn era(&self) -> String {
        format!("{}era", self.root)
    }

    pub(crate) fn id(&self, id: &InstanceId) -> String {
        self.of("ids", id.as_str())
    }

    pub(crate) fn offer(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}instances/{service}/{}", self.root, id.as_str())
    }

    pub(crate) fn owner(&self, owner: &Owner) -> String {
        self.of("owners", owner.as_str())
    }

    pub(crate) fn service(&self, service: &ServiceName) -> String {
        self.of("services", service.as_str())
    }

    fn of(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}/{name}", self.root)
    }

    /// What a key below the root is about, if it is one of ours.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<Key> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        let Some((kind, name)) = key.split_once('/') else {
            return match key {
                "commit" => Some(Key::Commit),
                "era" => Some(Key::Era),
                _ => None,
            };
        };
        match kind {
            "alive" => InstanceId::parse(name).ok().map(Key::Alive),
            "ids" => InstanceId::parse(name).ok().map(Key::Id),
            "instances" => {
                let (service, id) = name.split_once('/')?;
                let parsed = ServiceName::parse(service).ok().zip(InstanceId::parse(id).ok());
                parsed.map(|(service, id)| Key::Offer(service, id))
            }
            "owners" => Some(Key::Owner),
            "services" => ServiceName::parse(name).ok().map(Key::Service),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_whatever_an_id_holds() {
        let keys = Keys::new("p/ns/".to_owned());
        let (service, id) =
            (ServiceName::parse("a.b").unwrap(), InstanceId::parse("x/y z").unwrap());
        assert_eq!(keys.offer(&service, &id), "p/ns/instances/a.b/x/y z");
        for (key, parsed) in [
            (keys.alive(&id), Key::Alive(id.clone())),
            (keys.commit(), Key::Commit),
            (keys.era(), Key::Era),
            (keys.id(&id), Key::Id(id.clone())),
            (keys.service(&service), Key::Service(service.clone())),
            (keys.offer(&service, &id), Key::Offer(service, id)),
        ] {
            assert_eq!(keys.parse(key.as_bytes()), Some(parsed), "{key}");
        }
        for foreign in ["p/ns2/era", "p/ns/", "p/ns/instances/a", "p/ns/ids/", "p/ns/else/x", ""] {
            assert_eq!(keys.parse(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
