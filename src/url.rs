//! Backend URLs: `scheme:rest?key=value&…`.

use registry_api::{Error, Namespace, Result};

/// The parts of a backend URL that all backends share.
pub(crate) struct Url<'a> {
    pub(crate) scheme: &'a str,
    /// What stands between the scheme and the parameters.
    pub(crate) rest: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Url<'a> {
    pub(crate) fn parse(url: &'a str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            let rule = "must start with a scheme, as in memory:";
            return Err(Error::invalid("url", rule));
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let pair = |part: &'a str| part.split_once('=').unwrap_or((part, ""));
        let parameters = parameters.split('&').filter(|part| !part.is_empty()).map(pair);
        Ok(Self { scheme, rest, parameters: parameters.collect() })
    }

    /// The namespace it names, else the default one.
    pub(crate) fn namespace(&self) -> Result<Namespace> {
        let named = self.parameter("namespace");
        named.map_or_else(|| Ok(Namespace::default()), Namespace::parse)
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        let named = self.parameters.iter().find(|(key, _)| *key == name);
        named.map(|(_, value)| *value)
    }

    /// The user part of `//user@host:port` and what follows it.
    #[cfg_attr(not(any(feature = "grpc", feature = "thrift")), allow(dead_code))]
    pub(crate) fn authority(&self) -> Result<(&'a str, &'a str)> {
        let rest = self.rest.strip_prefix("//");
        let rest = rest.ok_or_else(|| Error::invalid("url", "must go on with //host:port"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        Ok(rest.rsplit_once('@').unwrap_or(("", rest)))
    }

    /// Refuses parameters that would be ignored.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        match self.parameters.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => Err(Error::invalid("url", "has a parameter that is not known")
                .with("parameter", key)
                .with("known", known.join(", "))),
            None => Ok(()),
        }
    }
}
