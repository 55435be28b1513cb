//! What is asked for: a place in the tree, and parameters.

use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use portolan::hprose::{ROOT, Server};
use portolan::{InstanceId, ServiceName};

use super::answer::Refusal;

/// A place in the tree that hprose peers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All domains.
    Root,
    /// The servers of a domain.
    Domain(ServiceName),
    /// One server.
    Server(ServiceName, InstanceId),
}

impl Place {
    /// The place that a path below `/v2/keys` names.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let decoded = percent_decode_str(path).decode_utf8();
        let decoded = decoded.map_err(|_| Refusal::not_found(path))?;
        let key = decoded.strip_prefix("/v2/keys").unwrap_or(&decoded);
        let key = key.trim_start_matches('/').trim_end_matches('/');
        if key == ROOT.trim_end_matches('/') {
            return Ok(Self::Root);
        }
        if let Some((service, id)) = Server::parse_key(key) {
            return Ok(Self::Server(service, id));
        }
        let domain = key.strip_prefix(ROOT).and_then(|domain| ServiceName::parse(domain).ok());
        domain.map(Self::Domain).ok_or_else(|| Refusal::not_found(&format!("/{key}")))
    }

    /// Its key, as etcd v2 shows it.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Root => format!("/{}", ROOT.trim_end_matches('/')),
            Self::Domain(service) => format!("/{ROOT}{service}"),
            Self::Server(service, id) => key_of(service, id),
        }
    }

    /// Whether what happens at `key` happens here, or below where that counts.
    pub(super) fn covers(&self, key: &str, recursive: bool) -> bool {
        let own = self.key();
        let below = || key.strip_prefix(&own).is_some_and(|rest| rest.starts_with('/'));
        key == own || recursive && below()
    }
}

/// The key of a server.
pub(super) fn key_of(service: &ServiceName, id: &InstanceId) -> String {
    format!("/{ROOT}{service}/{}", id.as_str())
}

/// The parameters of a request; those of a form go before those of the path.
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    pub(super) fn parse(
        query: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Refusal> {
        let mut all = HashMap::new();
        let mut add = |pairs: form_urlencoded::Parse<'_>| {
            all.extend(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())));
        };
        add(form_urlencoded::parse(query.unwrap_or_default().as_bytes()));
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"))
        {
            add(form_urlencoded::parse(body));
        }
        for unknown in ["dir", "prevValue", "prevIndex", "stream"] {
            if all.contains_key(unknown) {
                return Err(Refusal::field(format!("{unknown} is not offered here")));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A flag, false where it is not given.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// A flag that may be left out.
    pub(super) fn choice(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name) {
            None | Some("") => Ok(None),
            // As Go reads a flag.
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(Some(false)),
            Some(_) => Err(Refusal::field(format!("invalid value for \"{name}\""))),
        }
    }

    /// The seconds of `ttl`, if it is given.
    pub(super) fn ttl(&self) -> Result<Option<u32>, Refusal> {
        match self.text("ttl") {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Refusal::ttl()),
        }
    }

    /// The place in history a wait begins at; 0 is now.
    pub(super) fn wait_index(&self) -> Result<u64, Refusal> {
        match self.text("waitIndex") {
            None | Some("") => Ok(0),
            Some(text) => text.parse().map_err(|_| Refusal::index()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_tree_and_nothing_else() {
        let parse = |path: &str| Place::parse(path).ok().map(|place| place.key());
        for (path, key) in [
            ("/v2/keys/hprose-service", "/hprose-service"),
            ("/v2/keys/hprose-service/", "/hprose-service"),
            ("/v2/keys//hprose-service/d", "/hprose-service/d"),
            ("/v2/keys/hprose-service/d/u%31", "/hprose-service/d/u1"),
        ] {
            assert_eq!(parse(path).as_deref(), Some(key), "{path}");
        }
        for path in ["/v2/keys/other", "/v2/keys/hprose-service/d/u/x", "/v2/keys/%ff", "/v2/keys/"]
        {
            assert_eq!(parse(path), None, "{path}");
        }
        let domain = Place::parse("/v2/keys/hprose-service/d").unwrap();
        assert!(domain.covers("/hprose-service/d/u", true));
        assert!(!domain.covers("/hprose-service/d/u", false));
        assert!(!domain.covers("/hprose-service/dd/u", true));
    }
}
