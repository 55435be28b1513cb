//! How a registry in etcd is opened.

use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::time::Duration;

use registry_api::url_text::credentials;
use registry_api::{Error, Namespace, Result};

use crate::dialect::Dialect;

/// Where etcd is, and which of its keys are used.
#[derive(Clone)]
pub struct EtcdOptions {
    /// Each as `http://host:port` or `https://host:port`.
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) tls: TlsFiles,
    pub(crate) prefix: String,
    pub(crate) namespace: Namespace,
    pub(crate) dialects: Vec<Dialect>,
    pub(crate) history: usize,
    pub(crate) timeout: Duration,
}

/// Files that an encrypted connection needs; none where the system's or no own
/// certificate is meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) domain: Option<String>,
}

const PREFIX: &str = "portolan";
const HISTORY: usize = 16_384;
const TIMEOUT: Duration = Duration::from_secs(3);
const KNOWN: [&str; 7] = ["ca", "cert", "dialect", "domain", "history", "key", "namespace"];

impl EtcdOptions {
    /// The options a URL names:
    /// `etcd://[user:password@]host:port[,host:port…][/prefix][?key=value&…]`, or
    /// `etcds://…` for an encrypted connection.
    ///
    /// `docs/backend-etcd.md` lists the parameters. Errors: `InvalidArgument` for
    /// one that is not known or cannot be understood.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = match url.split_once("://") {
            Some(("etcd", rest)) => ("http", rest),
            Some(("etcds", rest)) => ("https", rest),
            _ => return Err(Error::invalid("url", "must read etcd://host:port/prefix")),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let mut options = Self {
            endpoints: endpoints(scheme, hosts)?,
            user: (!user.is_empty()).then(|| credentials(user)).transpose()?,
            tls: TlsFiles::default(),
            prefix: prefix_of(prefix)?,
            namespace: Namespace::default(),
            dialects: Vec::new(),
            history: HISTORY,
            timeout: TIMEOUT,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(key, value)?;
        }
        options.check(scheme)?;
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "namespace" => self.namespace = Namespace::parse(value)?,
            "dialect" => self.dialects = Dialect::list(value)?,
            "ca" => self.tls.ca = Some(value.into()),
            "cert" => self.tls.cert = Some(value.into()),
            "key" => self.tls.key = Some(value.into()),
            "domain" => self.tls.domain = Some(value.to_owned()),
            "history" => {
                let events = value.parse().ok().filter(|events| (1..=1_000_000).contains(events));
                let rule = "must be from 1 to 1000000 events";
                self.history = events.ok_or_else(|| Error::invalid("history", rule))?;
            }
            key => {
                return Err(Error::invalid("url", "has a parameter that is not known")
                    .with("parameter", key)
                    .with("known", KNOWN.join(", ")));
            }
        }
        Ok(())
    }

    fn check(&self, scheme: &str) -> Result<()> {
        let tls = &self.tls;
        if tls.cert.is_some() != tls.key.is_some() {
            return Err(Error::invalid("cert", "needs a key beside it, and a key needs a cert"));
        }
        let wants = tls.ca.is_some() || tls.cert.is_some() || tls.domain.is_some();
        if scheme == "http" && wants {
            return Err(Error::invalid(
                "url",
                "must begin with etcds:// where certificates are named",
            ));
        }
        Ok(())
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets how many events are kept for slow and resuming watchers.
    #[must_use]
    pub fn with_history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// Sets the longest a call may take; 3 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Below which all keys of the namespace are.
    pub(crate) fn root(&self) -> String {
        format!("{}/{}/", self.prefix, self.namespace.as_str())
    }
}

fn endpoints(scheme: &str, hosts: &str) -> Result<Vec<String>> {
    let endpoint = |host: &str| {
        let (name, port) = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'))?;
        let fits = !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        fits.then(|| format!("{scheme}://{host}"))
    };
    let all: Option<Vec<_>> = hosts.split(',').map(endpoint).collect();
    let rule = "must name etcd as host:port, several with a comma between";
    all.ok_or_else(|| Error::invalid("url", rule).with("hosts", hosts))
}

fn prefix_of(path: &str) -> Result<String> {
    let prefix = path.trim_end_matches('/');
    if prefix.contains(|c: char| c.is_control()) || prefix.len() > 512 {
        return Err(Error::invalid("prefix", "must have at most 512 bytes, none of them control"));
    }
    Ok(if prefix.is_empty() { PREFIX.to_owned() } else { prefix.to_owned() })
}

impl Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        EtcdOptions::parse(url).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_url_names_hosts_prefix_and_user() {
        let url = "etcd://me:p%40ss@a:1,[::1]:2/shop/eu/?namespace=x&history=9";
        let options = EtcdOptions::parse(url).unwrap();
        assert_eq!(options.endpoints, ["http://a:1", "http://[::1]:2"]);
        assert_eq!(options.user, Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!((&*options.root(), options.history), ("shop/eu/x/", 9));
        assert!(!format!("{options:?}").contains("p@ss"));
        let plain = EtcdOptions::parse("etcds://h:2379").unwrap();
        assert_eq!((&*plain.root(), &*plain.endpoints[0]), ("portolan/default/", "https://h:2379"));
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_the_way_out() {
        assert!(refusal("etcd:h").contains("etcd://host:port"));
        assert!(refusal("etcd://h").contains("host:port"));
        assert!(refusal("etcd://me@h:1").contains("user:password"));
        assert!(refusal("etcd://h:1?histroy=1").contains("history, key, namespace"));
        assert!(refusal("etcd://h:1?history=0").contains("1 to 1000000"));
        assert!(refusal("etcd://h:1?ca=x.pem").contains("etcds://"));
        assert!(refusal("etcds://h:1?cert=x.pem").contains("key"));
        assert!(refusal("etcd://h:1?dialect=consul").contains("hprose"));
    }
}
