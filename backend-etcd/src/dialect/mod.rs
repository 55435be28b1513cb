//! Key layouts of other systems, read and written beside our own.
//!
//! What a foreign hand wrote is an instance like any other, as long as its key is
//! there. Of ours, those that are online and ready are written for foreign
//! readers too, as their own would be, and on a lease of ours: by that we know
//! them again. Where a native and a foreign record share an id, the native counts.

mod hprose;
mod kitex;

use registry_api::{Error, InstanceId, LeaseTerms, Offer, Phase, Presence, Result, ServiceName};

/// A layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Hertz,
    Hprose,
    Kitex,
}

/// What a foreign key names.
pub(crate) struct Named {
    pub(crate) dialect: Dialect,
    pub(crate) service: ServiceName,
    pub(crate) id: InstanceId,
}

impl Dialect {
    /// The dialects a text names.
    pub(crate) fn list(text: &str) -> Result<Vec<Self>> {
        let named = text.split(',').map(|name| match name {
            "hertz" => Ok(Self::Hertz),
            "hprose" => Ok(Self::Hprose),
            "kitex" => Ok(Self::Kitex),
            _ => {
                let rule = "must be hprose, kitex or hertz, several with a comma between";
                Err(Error::invalid("dialect", rule).with("dialect", name))
            }
        });
        named.collect()
    }

    /// What its keys begin with.
    pub(crate) fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Hertz => &["hertz/registry-etcd/"],
            // etcd v2 folded the slash before a key, v3 does not.
            Self::Hprose => &["hprose-service/", "/hprose-service/"],
            Self::Kitex => &["kitex/registry-etcd/"],
        }
    }

    /// What a key names, if it is one of this layout.
    pub(crate) fn named(self, key: &[u8]) -> Option<Named> {
        let key = std::str::from_utf8(key).ok()?;
        let (service, id) = match self {
            Self::Hprose => hprose::named(key)?,
            Self::Hertz | Self::Kitex => kitex::named(key.strip_prefix(self.prefixes()[0])?)?,
        };
        Some(Named { dialect: self, service, id })
    }

    /// The terms of its writers' leases.
    pub(crate) fn terms(self) -> LeaseTerms {
        match self {
            Self::Hprose => hprose::terms(),
            Self::Hertz | Self::Kitex => kitex::terms(),
        }
    }

    /// The keys and values that show an instance to foreign readers: those that
    /// are ready, where they can be called that way.
    pub(crate) fn copies(self, presence: &Presence) -> Vec<(String, Vec<u8>)> {
        if presence.phase != Phase::Ready {
            return Vec::new();
        }
        let copy = |offer| match self {
            Self::Hprose => hprose::copy(&presence.id, offer),
            Self::Hertz | Self::Kitex => kitex::copy(self.prefixes()[0], offer),
        };
        presence.offers.iter().filter_map(copy).collect()
    }
}

impl Named {
    /// What a value offers, if it can be understood.
    pub(crate) fn read(&self, value: &[u8]) -> Option<Offer> {
        match self.dialect {
            Dialect::Hprose => hprose::read(&self.service, &self.id, value),
            Dialect::Hertz | Dialect::Kitex => kitex::read(&self.service, &self.id, value),
        }
    }
}
