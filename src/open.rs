//! From a URL to a registry: the one place that knows which backends there are.

use std::sync::Arc;

use registry_api::{Clock, Error, ErrorKind, Namespace, Registry, Result};

use crate::clock::SystemClock;
use crate::url::Url;

/// Opens the registry a URL names, for example `memory:`, `memory:?namespace=shop`
/// or `thrift://KEY@registry.local:4202`.
///
/// The namespace is `default` unless the URL names one. Errors:
/// `InvalidArgument` for a URL that cannot be understood, `Unsupported` for a
/// scheme that is not compiled in, naming those that are.
pub async fn open(url: &str) -> Result<Arc<dyn Registry>> {
    open_with(url, Arc::new(SystemClock)).await
}

/// [`open`] with a clock of the caller's, which judges leases where this
/// process is the judge.
pub async fn open_with(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    let parsed = Url::parse(url)?;
    match parsed.scheme {
        #[cfg(feature = "amqp")]
        "amqp" | "amqps" => open_amqp(url, clock).await,
        #[cfg(feature = "h2")]
        "amqp-rpc" | "amqps-rpc" => open_amqp_rpc(&parsed, clock).await,
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => open_etcd(url, clock).await,
        #[cfg(feature = "grpc")]
        "grpc" | "grpcs" => open_grpc(&parsed, clock).await,
        #[cfg(feature = "memory")]
        "memory" => open_memory(&parsed, clock),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => open_sql(url, clock).await,
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => open_sql(url, clock).await,
        #[cfg(feature = "sqlite")]
        "sqlite" => open_sql(url, clock).await,
        #[cfg(feature = "thrift")]
        "thrift" => open_thrift(&parsed, clock).await,
        scheme => {
            drop(clock);
            Err(unknown_scheme(scheme))
        }
    }
}

/// The namespace a URL is about, as [`open`] binds its handle to it.
pub fn namespace_of(url: &str) -> Result<Namespace> {
    Url::parse(url)?.namespace()
}

/// The schemes that are compiled in.
pub fn schemes() -> &'static [&'static str] {
    &[
        #[cfg(feature = "amqp")]
        "amqp",
        #[cfg(feature = "h2")]
        "amqp-rpc",
        #[cfg(feature = "etcd")]
        "etcd",
        #[cfg(feature = "grpc")]
        "grpc",
        #[cfg(feature = "memory")]
        "memory",
        #[cfg(feature = "mysql")]
        "mysql",
        #[cfg(feature = "postgres")]
        "postgres",
        #[cfg(feature = "sqlite")]
        "sqlite",
        #[cfg(feature = "thrift")]
        "thrift",
    ]
}

/// Whether what a URL names lives in this process, and is another one every
/// time it is opened.
pub(crate) fn is_in_process(url: &str) -> bool {
    url.starts_with("memory:") || url.starts_with("sqlite::memory:")
}

/// A URL as it may be shown: without user, password and parameters' secrets.
pub fn redact(url: &str) -> String {
    let (front, parameters) = match url.split_once('?') {
        Some((front, parameters)) => (front, Some(parameters)),
        None => (url, None),
    };
    let front = match front.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
            format!("{scheme}://{host}")
        }
        None => front.to_owned(),
    };
    match parameters {
        Some(_) => format!("{front}?…"),
        None => front,
    }
}

#[cfg(feature = "memory")]
fn open_memory(url: &Url<'_>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use backend_memory::{MemoryOptions, MemoryStore};

    if !url.rest.is_empty() {
        return Err(Error::invalid("url", "must read memory: without a path"));
    }
    url.only(&["namespace"])?;
    // Nothing survives, so every store is another history.
    let era = registry_api::Era(uuid::Uuid::new_v4().as_u64_pair().0);
    let store = MemoryStore::new(clock, MemoryOptions::new(era));
    Ok(store.handle(&url.namespace()?))
}

/// A registry on RabbitMQ.
#[cfg(feature = "amqp")]
async fn open_amqp(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use backend_amqp::{AmqpOptions, AmqpRegistry};

    AmqpRegistry::open(AmqpOptions::parse(url)?, clock).await
}

/// A registry that somebody serves at a broker: `amqp-rpc://user:password@host/vhost`,
/// over TLS as `amqps-rpc://`. `?key=KEY` is an API key, `prefix=` what the platform's
/// names begin with.
#[cfg(feature = "h2")]
async fn open_amqp_rpc(url: &Url<'_>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use portolan_amqp::{
        AmqpCaller, Broker, CallerOptions, OneInstance, Prefix, REGISTRY_MESSAGE, Sending,
    };
    use portolan_thrift::{RemoteOptions, ThriftRegistry};
    use registry_api::{Address, access::Credential};

    url.only(&["key", "namespace", "prefix"])?;
    let prefix = url.parameter("prefix").map(Prefix::parse).transpose()?.unwrap_or_default();
    let broker = Broker::parse(&format!("{}:{}", url.scheme.trim_end_matches("-rpc"), url.rest))?;
    let options =
        CallerOptions::default().with_max_message(REGISTRY_MESSAGE).with_sending(Sending::Once); // A registry repeats by itself what it may.
    let service = prefix.registry()?;
    let caller = OneInstance::new(AmqpCaller::new(broker, options), service.clone());
    let options = RemoteOptions::new(Address::parse(&format!("amqp:{service}"))?)
        .with_namespace(url.namespace()?)
        .with_credential(Credential::key(url.parameter("key").unwrap_or_default()));
    ThriftRegistry::open_over(Arc::new(caller), options, clock).await
}

/// A registry in etcd.
#[cfg(feature = "etcd")]
async fn open_etcd(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use backend_etcd::{EtcdOptions, EtcdRegistry};

    EtcdRegistry::open(EtcdOptions::parse(url)?, clock).await
}

/// A registry in a database.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
async fn open_sql(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use backend_sql::{SqlOptions, SqlRegistry};

    SqlRegistry::open(SqlOptions::parse(url)?, clock).await
}

/// A registry that somebody serves over gRPC: `grpc://host:port`, over TLS as
/// `grpcs://`, with an API key as `grpc://KEY@host:port`. `?ca=FILE` names the
/// certificates that sign its own, instead of the system's.
#[cfg(feature = "grpc")]
async fn open_grpc(url: &Url<'_>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use portolan_grpc::{GrpcRegistry, RemoteOptions, Security, channel};
    use registry_api::access::Credential;

    url.only(&["ca", "namespace"])?;
    let (user, host) = url.authority()?;
    let key = user.strip_prefix(':').unwrap_or(user);
    let security = match (url.scheme, url.parameter("ca")) {
        ("grpcs", None) => Security::SystemRoots,
        ("grpcs", Some(file)) => {
            let pem = std::fs::read(file);
            let unreadable = |error| Error::invalid("ca", "cannot be read").because(error);
            Security::Roots(pem.map_err(unreadable)?)
        }
        (_, None) => Security::Plaintext,
        (_, Some(_)) => return Err(Error::invalid("ca", "goes with grpcs://")),
    };
    let options = RemoteOptions::default()
        .with_namespace(url.namespace()?)
        .with_credential(Credential::key(key));
    GrpcRegistry::open(channel(host, &security)?, options, clock).await
}

/// A registry that somebody serves over Thrift: `thrift://host:port`, with an
/// API key as `thrift://KEY@host:port`.
#[cfg(feature = "thrift")]
async fn open_thrift(url: &Url<'_>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
    use portolan_thrift::{RemoteOptions, TcpDial, ThriftRegistry};
    use registry_api::access::Credential;
    use registry_api::{Address, AddressPolicy};

    url.only(&["namespace"])?;
    let (user, host) = url.authority()?;
    let key = user.strip_prefix(':').unwrap_or(user);
    let address = Address::parse(&format!("thrift://{host}"))?;
    let options = RemoteOptions::new(address)
        .with_namespace(url.namespace()?)
        .with_credential(Credential::key(key));
    // Who writes the URL is who runs this process: its own loopback is meant.
    let dial = TcpDial::new(AddressPolicy::new().allow_loopback(true));
    ThriftRegistry::open(Arc::new(dial), options, clock).await
}

fn unknown_scheme(scheme: &str) -> Error {
    let known = schemes().join(", ");
    let message = format!("no backend for this scheme is compiled in; there is: {known}");
    Error::new(ErrorKind::Unsupported, message).with("scheme", scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_scheme_names_the_known_ones() {
        let error = open("zookeeper://h").await.err().map(|e| e.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains("memory") && error.contains("zookeeper"), "{error}");
        assert!(open("memory:?namspace=x").await.is_err());
        assert!(open("memory:?namespace=shop").await.is_ok());
        assert!(open("memory").await.is_err());
        assert_eq!(namespace_of("memory:?namespace=shop").ok(), Namespace::parse("shop").ok());
        #[cfg(feature = "thrift")]
        {
            use registry_api::ErrorKind;
            let kind = async |url| open(url).await.err().map(|error| error.kind());
            assert_eq!(kind("thrift:nowhere").await, Some(ErrorKind::InvalidArgument));
            let nobody = kind("thrift://secret-key@127.0.0.1:1").await;
            assert_eq!(nobody, Some(ErrorKind::Unavailable));
        }
    }

    #[test]
    fn shown_urls_hold_no_secret() {
        assert_eq!(redact("etcd://u:p@h:1/x?password=p"), "etcd://h:1/x?…");
        assert_eq!(redact("memory:"), "memory:");
        assert_eq!(redact("amqp://u:p@ss@h/v"), "amqp://h/v");
    }
}
