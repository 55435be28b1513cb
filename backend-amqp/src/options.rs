//! How a registry on RabbitMQ is opened.

use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::time::Duration;

use registry_api::url_text::{credentials, decoded};
use registry_api::{Error, Namespace, Result};

/// Where the broker is, and how its log is kept.
#[derive(Clone)]
pub struct AmqpOptions {
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) vhost: String,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) prefix: String,
    pub(crate) namespace: Namespace,
    pub(crate) history: usize,
    /// How many bytes of log the broker keeps, if we are the one who declares it.
    pub(crate) retention: u64,
    /// How many bytes of log lie between two snapshots, at least.
    pub(crate) interval: u64,
    pub(crate) timeout: Duration,
}

/// Files that an encrypted connection needs; none where the usual roots and no
/// own certificate are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

const PREFIX: &str = "portolan";
const HISTORY: usize = 16_384;
const RETENTION: u64 = 256 << 20;
const INTERVAL: u64 = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(3);
const KNOWN: [&str; 8] =
    ["ca", "cert", "history", "key", "namespace", "prefix", "retention", "snapshot"];

impl AmqpOptions {
    /// The options a URL names:
    /// `amqp://[user:password@]host[:port][,host…][/vhost][?key=value&…]`, or
    /// `amqps://…` for an encrypted connection. Without a vhost, `/` is meant.
    ///
    /// `docs/backend-amqp.md` lists the parameters. Errors: `InvalidArgument` for
    /// one that is not known or cannot be understood.
    pub fn parse(url: &str) -> Result<Self> {
        let (tls, port, rest) = match url.split_once("://") {
            Some(("amqp", rest)) => (None, 5672, rest),
            Some(("amqps", rest)) => (Some(TlsFiles::default()), 5671, rest),
            _ => return Err(Error::invalid("url", "must read amqp://user:password@host/vhost")),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, vhost) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = credentials(user)?;
        let mut options = Self {
            hosts: hosts_of(hosts, port)?,
            user,
            password,
            vhost: vhost_of(vhost)?,
            tls,
            prefix: PREFIX.to_owned(),
            namespace: Namespace::default(),
            history: HISTORY,
            retention: RETENTION,
            interval: INTERVAL,
            timeout: TIMEOUT,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(key, value)?;
        }
        options.check()?;
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "namespace" => self.namespace = Namespace::parse(value)?,
            "prefix" => self.prefix = prefix_of(value)?,
            "history" => self.history = number("history", value, 1, 1_000_000)? as usize,
            "retention" => self.retention = number("retention", value, 1 << 20, 1 << 40)?,
            "snapshot" => self.interval = number("snapshot", value, 1 << 10, 1 << 32)?,
            "ca" => self.files()?.ca = Some(value.into()),
            "cert" => self.files()?.cert = Some(value.into()),
            "key" => self.files()?.key = Some(value.into()),
            key => {
                return Err(Error::invalid("url", "has a parameter that is not known")
                    .with("parameter", key)
                    .with("known", KNOWN.join(", ")));
            }
        }
        Ok(())
    }

    fn files(&mut self) -> Result<&mut TlsFiles> {
        let rule = "must begin with amqps:// where certificates are named";
        self.tls.as_mut().ok_or_else(|| Error::invalid("url", rule))
    }

    fn check(&self) -> Result<()> {
        let one = |tls: &TlsFiles| tls.cert.is_some() != tls.key.is_some();
        if self.tls.as_ref().is_some_and(one) {
            return Err(Error::invalid("cert", "needs a key beside it, and a key needs a cert"));
        }
        if self.retention < 4 * self.interval {
            let rule = "must be at least four times the bytes between two snapshots";
            return Err(Error::invalid("retention", rule).with("snapshot", self.interval));
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
}

fn hosts_of(hosts: &str, port: u16) -> Result<Vec<(String, u16)>> {
    let host = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((name, port)) => {
                let name = name.trim_start_matches('[').trim_end_matches(']');
                let port = port.parse().ok().filter(|port| *port > 0)?;
                (!name.is_empty()).then(|| (name.to_owned(), port))
            }
            None => (!bare.is_empty()).then(|| (bare.to_owned(), port)),
        }
    };
    let all: Option<Vec<_>> = hosts.split(',').map(host).collect();
    let rule = "must name the broker as host or host:port, several with a comma between";
    all.ok_or_else(|| Error::invalid("url", rule).with("hosts", hosts))
}

/// The vhost of a path. Nobody has one without a name: an empty path means `/`.
fn vhost_of(path: &str) -> Result<String> {
    let vhost = decoded(path).filter(|vhost| vhost.len() <= 255 && !vhost.contains('\0'));
    let rule = "must name a vhost of at most 255 bytes, special characters as %XX";
    let vhost = vhost.ok_or_else(|| Error::invalid("url", rule))?;
    Ok(if vhost.is_empty() { "/".to_owned() } else { vhost })
}

fn prefix_of(value: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=64).contains(&value.len()) && value.chars().all(plain);
    let rule = "must have 1 to 64 letters, digits, - and _";
    fits.then(|| value.to_owned()).ok_or_else(|| Error::invalid("prefix", rule))
}

fn number(field: &'static str, value: &str, least: u64, most: u64) -> Result<u64> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Error::invalid(field, format!("must be from {least} to {most}")))
}

impl Debug for AmqpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpOptions")
            .field("hosts", &self.hosts)
            .field("vhost", &self.vhost)
            .field("prefix", &self.prefix)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        AmqpOptions::parse(url).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_url_names_user_hosts_and_vhost() {
        let url = "amqp://me:p%40ss@a:1,[::1]:2,c/shop%2feu?namespace=x&history=9&prefix=p";
        let options = AmqpOptions::parse(url).unwrap();
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(options.hosts, [host("a", 1), host("::1", 2), host("c", 5672)]);
        assert_eq!((&*options.user, &*options.password), ("me", "p@ss"));
        assert_eq!((&*options.vhost, options.history), ("shop/eu", 9));
        assert!(!format!("{options:?}").contains("p@ss"));
        for url in ["amqp://h", "amqp://h/", "amqp://guest:guest@h:5672/", "amqp://h/%2f"] {
            assert_eq!(AmqpOptions::parse(url).unwrap().vhost, "/", "{url}");
        }
        let tls = AmqpOptions::parse("amqps://h/v?ca=x.pem").unwrap();
        assert_eq!(tls.hosts, [host("h", 5671)]);
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_the_way_out() {
        assert!(refusal("amqp:h").contains("amqp://user:password@host/vhost"));
        assert!(refusal("amqp://").contains("host:port"));
        assert!(refusal("amqp://me@h").contains("user:password"));
        assert!(refusal("amqp://h/%zz").contains("vhost"));
        assert!(refusal("amqp://h?histroy=1").contains("history, key, namespace"));
        assert!(refusal("amqp://h?prefix=a.b").contains("letters, digits"));
        assert!(refusal("amqp://h?ca=x.pem").contains("amqps://"));
        assert!(refusal("amqps://h?cert=x.pem").contains("key"));
        assert!(refusal("amqp://h?retention=1048576").contains("four times"));
    }
}
