//! What a gateway is told: by flags, `PORTOLAN_*`, a TOML file, or defaults, in
//! that order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use portolan::grpc::{ClusterSecret, Security};
use portolan::h2::{Broker, Prefix};
use portolan::identity::AuthorityKey;
use portolan::thrift::CallerOptions;
use portolan::{AddressPolicy, ApiKey, LeaseTerms};
use serde::Deserialize;

use crate::forward::{self, Forward};
pub use crate::tls::TlsFiles;

/// A complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The URL of the registry backend.
    pub backend: String,
    /// The control and data plane.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Tokens of services that connect over gRPC without an owner's key.
    pub grpc_tokens: Vec<ApiKey>,
    /// How long a connected service may be without a heartbeat.
    pub grpc_heartbeat_timeout: Duration,
    /// The certificate of the gRPC listener, if it speaks TLS.
    pub grpc_tls: Option<TlsFiles>,
    /// Whether the gRPC listener speaks nothing but TLS.
    pub grpc_tls_only: bool,
    /// The certificates that others' over gRPC are signed by, if not the system's.
    pub grpc_ca: Option<PathBuf>,
    /// The host under which others reach this gateway.
    pub advertise: Option<String>,
    /// What gateways of one cluster show each other.
    pub cluster_secret: Option<ClusterSecret>,
    /// Health, metrics and reading.
    pub admin: SocketAddr,
    /// The registry over Thrift, if it is to be served.
    pub thrift: Option<SocketAddr>,
    /// Whether hprose peers find an etcd v2 on the HTTP listener.
    pub hprose: bool,
    /// Where servers and clients of go-easyops find their registry in the clear, and on
    /// the next port over TLS.
    pub easyops: Option<SocketAddr>,
    /// The key of their cloud.
    pub easyops_key: PathBuf,
    /// How often their servers are asked how they are.
    pub easyops_probe: Duration,
    /// Their registries that are asked for what is not here.
    pub easyops_upstream: Vec<String>,
    /// Where servers without a registry leave files, if those are read.
    pub easyops_standalone: Option<PathBuf>,
    /// The passport that the gateway's calls are made with, if they say who makes them.
    pub identity: Option<PathBuf>,
    /// Whose passports of users count here.
    pub authorities: Vec<AuthorityKey>,
    /// The broker of H2's services, if there is one.
    pub amqp: Option<Broker>,
    /// What the names of H2's services begin with.
    pub amqp_prefix: Prefix,
    /// The public key of H2's login service, if its sessions count.
    pub amqp_login_key: Option<PathBuf>,
    /// Whether the registry itself is served at that broker.
    pub amqp_rpc: bool,
    /// Blocks of addresses that instances may have besides ordinary ones.
    pub allow_addresses: Vec<String>,
    /// The lease terms of instances that connect over HTTP.
    pub terms: LeaseTerms,
    /// The key that may do everything.
    pub master_api_key: Option<ApiKey>,
    /// Whether listeners on other than loopback may be without authentication.
    pub allow_unauthenticated: bool,
    /// How Thrift instances are spoken to that do not say.
    pub thrift_framing: ThriftFraming,
    /// The HTTP headers that travel with calls.
    pub forward_headers: Vec<String>,
}

/// How Thrift messages are delimited.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ThriftFraming {
    /// Every Apache, Kitex and Volo server with framed transport understands it.
    #[default]
    Framed,
    /// Kitex and Volo servers do; headers and deadlines travel with it.
    Ttheader,
}

/// What the command line or the environment says.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// Registry backend [default: sqlite:portolan.db, a file in the working
    /// directory; the demo's is sqlite::memory:]
    #[arg(long, value_name = "URL", env = "PORTOLAN_BACKEND", hide_env_values = true)]
    pub backend: Option<String>,
    /// Listen here for the HTTP control and data plane [default: 127.0.0.1:4200]
    #[arg(long, value_name = "ADDR", env = "PORTOLAN_HTTP")]
    pub http: Option<SocketAddr>,
    /// Listen here for gRPC [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR", env = "PORTOLAN_GRPC")]
    pub grpc: Option<SocketAddr>,
    /// Let services connect over gRPC that show this token, with names that no
    /// owner with API keys has declared; may be repeated. Without tokens and without
    /// a master key whoever reaches a loopback listener may
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PORTOLAN_GRPC_TOKENS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub grpc_tokens: Option<Vec<String>>,
    /// Close the connection of a service without a heartbeat for so long [default: 120s]
    #[arg(long, value_name = "DURATION", env = "PORTOLAN_GRPC_HEARTBEAT_TIMEOUT", value_parser = humantime::parse_duration)]
    pub grpc_heartbeat_timeout: Option<Duration>,
    /// Speak TLS on the gRPC listener too, with this certificate in PEM; read again
    /// when the file changes
    #[arg(long, value_name = "FILE", env = "PORTOLAN_GRPC_TLS_CERT")]
    pub grpc_tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "PORTOLAN_GRPC_TLS_KEY", hide_env_values = true)]
    pub grpc_tls_key: Option<PathBuf>,
    /// Refuse connections without TLS on the gRPC listener
    #[arg(long, env = "PORTOLAN_GRPC_TLS_ONLY", num_args = 0..=1, default_missing_value = "true")]
    pub grpc_tls_only: Option<bool>,
    /// Trust certificates that these, in PEM, have signed, where other gateways and
    /// services are called over TLS [default: those the system trusts]
    #[arg(long, value_name = "FILE", env = "PORTOLAN_GRPC_CA")]
    pub grpc_ca: Option<PathBuf>,
    /// The name or address under which others reach this gateway [default: the
    /// listeners' own, unless they listen on all addresses]
    #[arg(long, value_name = "HOST", env = "PORTOLAN_ADVERTISE")]
    pub advertise: Option<String>,
    /// Pass calls on to the gateway that holds the connection they are for, and take
    /// them from others; the same secret on all gateways of a registry
    #[arg(long, value_name = "SECRET", env = "PORTOLAN_CLUSTER_SECRET", hide_env_values = true)]
    pub cluster_secret: Option<String>,
    /// Listen here for health, metrics and reading [default: 127.0.0.1:4201]
    #[arg(long, value_name = "ADDR", env = "PORTOLAN_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// Serve the registry itself here over Thrift, for backends named
    /// thrift://KEY@HOST:PORT [default: nowhere]
    #[arg(long, value_name = "ADDR", env = "PORTOLAN_THRIFT")]
    pub thrift: Option<SocketAddr>,
    /// Be the etcd v2 of hprose peers on the HTTP listener: /v2/keys/hprose-service;
    /// whoever reaches it may join there with services that have no API keys
    #[arg(long, env = "PORTOLAN_HPROSE", num_args = 0..=1, default_missing_value = "true")]
    pub hprose: Option<bool>,
    /// Be the registry and the authentication service of go-easyops here, and over TLS on
    /// the next port; theirs are 5000 and 5001. Whoever reaches it may join there with
    /// services that have no API keys [default: nowhere]
    #[arg(long, value_name = "ADDR", env = "PORTOLAN_EASYOPS")]
    pub easyops: Option<SocketAddr>,
    /// The key of that cloud (ed25519, PKCS #8), made where there is none; the same on
    /// all gateways of a registry [default: portolan-easyops.key]
    #[arg(long, value_name = "FILE", env = "PORTOLAN_EASYOPS_KEY")]
    pub easyops_key: Option<PathBuf>,
    /// How often their servers are asked how they are; one that fails to say so more than
    /// ten times in all is taken out [default: 30s]
    #[arg(long, value_name = "DURATION", env = "PORTOLAN_EASYOPS_PROBE", value_parser = humantime::parse_duration)]
    pub easyops_probe: Option<Duration>,
    /// Ask this registry of go-easyops, by its TLS port, for what is not here; may be
    /// repeated
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "PORTOLAN_EASYOPS_UPSTREAM",
        value_delimiter = ','
    )]
    pub easyops_upstream: Option<Vec<String>>,
    /// Let servers join that run with -ge_standalone on this machine and leave files in
    /// this directory; theirs is /tmp/local_registry [default: files are not read]
    #[arg(long, value_name = "DIR", env = "PORTOLAN_EASYOPS_STANDALONE")]
    pub easyops_standalone: Option<PathBuf>,
    /// Say in calls who makes them: the gateway, by the passport in this file, which
    /// `portolan identity issue --service` prints
    #[arg(long, value_name = "FILE", env = "PORTOLAN_IDENTITY")]
    pub identity: Option<PathBuf>,
    /// Make calls those of users who show a passport of this authority, as
    /// `Authorization: Bearer PASSPORT`; `portolan identity key` prints it; may be repeated
    #[arg(long, value_name = "KEY", env = "PORTOLAN_AUTHORITY", value_delimiter = ',')]
    pub authority: Option<Vec<String>>,
    /// Be discovery and binder of the H2 services at this RabbitMQ, and call them:
    /// amqp://USER:PASSWORD@HOST/VHOST; whoever can publish there may join with
    /// services below the prefix
    #[arg(long, value_name = "URL", env = "PORTOLAN_AMQP", hide_env_values = true)]
    pub amqp: Option<String>,
    /// What the names of H2 services begin with [default: com.hailocab]
    #[arg(long, value_name = "NAME", env = "PORTOLAN_AMQP_PREFIX")]
    pub amqp_prefix: Option<String>,
    /// Believe in sessions of H2's login service whose tokens this public key (RSA,
    /// PEM) has signed: with one of an ADMIN, /rpc calls the platform's own services
    #[arg(long, value_name = "FILE", env = "PORTOLAN_AMQP_LOGIN_KEY")]
    pub amqp_login_key: Option<PathBuf>,
    /// Serve the registry itself at the broker of --amqp, for backends named
    /// amqp-rpc://USER:PASSWORD@HOST/VHOST?key=KEY [default: no]
    #[arg(long, env = "PORTOLAN_AMQP_RPC", num_args = 0..=1, default_missing_value = "true")]
    pub amqp_rpc: Option<bool>,
    /// Let instances have addresses in this block; may be repeated
    #[arg(long, value_name = "CIDR", env = "PORTOLAN_ALLOW_ADDRESSES", value_delimiter = ',')]
    pub allow_addresses: Option<Vec<String>>,
    /// Silence after which an instance is offline [default: 45s]
    #[arg(long, value_name = "DURATION", env = "PORTOLAN_TTL", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,
    /// Silence after which an instance is delisted [default: 90s]
    #[arg(long, value_name = "DURATION", env = "PORTOLAN_TTD", value_parser = humantime::parse_duration)]
    pub ttd: Option<Duration>,
    /// The API key that may do everything; prefer the environment, where others
    /// cannot read it from the process list
    #[arg(long, value_name = "KEY", env = "PORTOLAN_MASTER_API_KEY", hide_env_values = true)]
    pub master_api_key: Option<String>,
    /// Listen on other than loopback without authentication
    #[arg(long, env = "PORTOLAN_ALLOW_UNAUTHENTICATED", num_args = 0..=1, default_missing_value = "true")]
    pub allow_unauthenticated: Option<bool>,
    /// How to speak to Thrift instances that do not say: headers and deadlines
    /// travel with ttheader only, which Kitex and Volo understand [default: framed]
    #[arg(long, value_name = "FRAMING", env = "PORTOLAN_THRIFT_FRAMING")]
    pub thrift_framing: Option<ThriftFraming>,
    /// Let this HTTP header travel with calls, or those that begin so: NAME or
    /// PREFIX*; may be repeated, and replaces the default list
    #[arg(long, value_name = "HEADER", env = "PORTOLAN_FORWARD_HEADERS", value_delimiter = ',')]
    pub forward_headers: Option<Vec<String>>,
    /// Read settings from this TOML file; flags and environment go first
    #[arg(long, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    pub config: Option<PathBuf>,
}

/// What a file says: the same names, with underscores.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    backend: Option<String>,
    http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    grpc_tokens: Option<Vec<String>>,
    #[serde(default, with = "humantime_serde::option")]
    grpc_heartbeat_timeout: Option<Duration>,
    grpc_tls_cert: Option<PathBuf>,
    grpc_tls_key: Option<PathBuf>,
    grpc_tls_only: Option<bool>,
    grpc_ca: Option<PathBuf>,
    advertise: Option<String>,
    cluster_secret: Option<String>,
    admin: Option<SocketAddr>,
    thrift: Option<SocketAddr>,
    hprose: Option<bool>,
    easyops: Option<SocketAddr>,
    easyops_key: Option<PathBuf>,
    #[serde(default, with = "humantime_serde::option")]
    easyops_probe: Option<Duration>,
    easyops_upstream: Option<Vec<String>>,
    easyops_standalone: Option<PathBuf>,
    identity: Option<PathBuf>,
    authority: Option<Vec<String>>,
    amqp: Option<String>,
    amqp_prefix: Option<String>,
    amqp_login_key: Option<PathBuf>,
    amqp_rpc: Option<bool>,
    allow_addresses: Option<Vec<String>>,
    #[serde(default, with = "humantime_serde::option")]
    ttl: Option<Duration>,
    #[serde(default, with = "humantime_serde::option")]
    ttd: Option<Duration>,
    master_api_key: Option<String>,
    allow_unauthenticated: Option<bool>,
    thrift_framing: Option<ThriftFraming>,
    forward_headers: Option<Vec<String>>,
}

impl Config {
    /// Settles flags, environment, file and defaults. The error names the
    /// setting and what to do.
    pub fn settle(flags: Flags) -> Result<Self, String> {
        Self::settle_with(flags, "sqlite:portolan.db")
    }

    /// [`settle`](Self::settle) with another default backend.
    pub fn settle_with(flags: Flags, backend: &str) -> Result<Self, String> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let amqp = flags.amqp.or(file.amqp).map(|url| Broker::parse(&url)).transpose();
        let prefix = flags.amqp_prefix.or(file.amqp_prefix).map(|name| Prefix::parse(&name));
        let seconds = Duration::from_secs;
        let ttl = flags.ttl.or(file.ttl).unwrap_or(seconds(45));
        let ttd = flags.ttd.or(file.ttd).unwrap_or(seconds(90).max(ttl));
        let key = flags.master_api_key.or(file.master_api_key);
        let tokens = flags.grpc_tokens.or(file.grpc_tokens).unwrap_or_default();
        let tls =
            (flags.grpc_tls_cert.or(file.grpc_tls_cert), flags.grpc_tls_key.or(file.grpc_tls_key));
        let secret = flags.cluster_secret.or(file.cluster_secret);
        let secret = secret.map(|secret| ClusterSecret::new(&secret)).transpose();
        let config = Self {
            backend: flags.backend.or(file.backend).unwrap_or_else(|| backend.to_owned()),
            http: flags.http.or(file.http).unwrap_or(loopback(4200)),
            grpc: flags.grpc.or(file.grpc).unwrap_or(loopback(50051)),
            admin: flags.admin.or(file.admin).unwrap_or(loopback(4201)),
            grpc_tokens: tokens.into_iter().map(checked_token).collect::<Result<_, _>>()?,
            grpc_heartbeat_timeout: flags
                .grpc_heartbeat_timeout
                .or(file.grpc_heartbeat_timeout)
                .unwrap_or(seconds(120)),
            grpc_tls: tls_files(tls)?,
            grpc_tls_only: flags.grpc_tls_only.or(file.grpc_tls_only).unwrap_or(false),
            grpc_ca: flags.grpc_ca.or(file.grpc_ca),
            advertise: flags.advertise.or(file.advertise),
            cluster_secret: secret.map_err(|error| error.to_string())?,
            thrift: flags.thrift.or(file.thrift),
            hprose: flags.hprose.or(file.hprose).unwrap_or(false),
            easyops: flags.easyops.or(file.easyops),
            easyops_key: flags
                .easyops_key
                .or(file.easyops_key)
                .unwrap_or_else(|| "portolan-easyops.key".into()),
            easyops_probe: flags
                .easyops_probe
                .or(file.easyops_probe)
                .unwrap_or(portolan::grpc::PROBED_EVERY),
            easyops_upstream: flags.easyops_upstream.or(file.easyops_upstream).unwrap_or_default(),
            easyops_standalone: flags.easyops_standalone.or(file.easyops_standalone),
            identity: flags.identity.or(file.identity),
            authorities: authorities(flags.authority.or(file.authority))?,
            amqp: amqp.map_err(|error| format!("amqp: {error}"))?,
            amqp_prefix: prefix
                .transpose()
                .map_err(|error| format!("amqp-prefix: {error}"))?
                .unwrap_or_default(),
            amqp_login_key: flags.amqp_login_key.or(file.amqp_login_key),
            amqp_rpc: flags.amqp_rpc.or(file.amqp_rpc).unwrap_or(false),
            allow_addresses: flags.allow_addresses.or(file.allow_addresses).unwrap_or_default(),
            terms: LeaseTerms::new(ttl, ttd).map_err(|error| error.to_string())?,
            master_api_key: key.map(checked_key).transpose()?,
            allow_unauthenticated: flags
                .allow_unauthenticated
                .or(file.allow_unauthenticated)
                .unwrap_or(false),
            thrift_framing: flags.thrift_framing.or(file.thrift_framing).unwrap_or_default(),
            forward_headers: flags
                .forward_headers
                .or(file.forward_headers)
                .unwrap_or_else(|| forward::USUAL.map(str::to_owned).to_vec()),
        };
        config.forward().map_err(|error| error.to_string())?;
        if config.grpc_tls_only && config.grpc_tls.is_none() {
            return Err("grpc-tls-only: needs grpc-tls-cert and grpc-tls-key".to_owned());
        }
        if !config.authorities.is_empty() && config.identity.is_none() {
            return Err("authority: needs the gateway's own passport: set identity".to_owned());
        }
        let more = !config.easyops_upstream.is_empty() || config.easyops_standalone.is_some();
        if more && config.easyops.is_none() {
            return Err("easyops-upstream, easyops-standalone: need easyops beside them".to_owned());
        }
        config.check_listeners()?;
        config.address_policy().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Whether a listener takes whoever reaches it: only this machine can, or it was
    /// said on purpose.
    pub(crate) fn is_open(&self, listener: SocketAddr) -> bool {
        listener.ip().is_loopback() || self.allow_unauthenticated
    }

    /// Which addresses instances may have.
    pub fn address_policy(&self) -> portolan::Result<AddressPolicy> {
        let policy = AddressPolicy::new().allow_loopback(self.http.ip().is_loopback());
        let blocks = self.allow_addresses.iter();
        blocks.into_iter().try_fold(policy, |policy, cidr| policy.allow(cidr))
    }

    /// Whom this gateway trusts over TLS.
    pub(crate) fn security(&self) -> portolan::Result<Security> {
        let Some(file) = &self.grpc_ca else { return Ok(Security::SystemRoots) };
        let unreadable =
            |error| portolan::Error::invalid("grpc-ca", "cannot be read").because(error);
        std::fs::read(file).map(Security::Roots).map_err(unreadable)
    }

    /// Which headers travel.
    pub(crate) fn forward(&self) -> portolan::Result<Forward> {
        let forward = Forward::new(&self.forward_headers);
        forward.map_err(|reason| portolan::Error::invalid("forward-headers", reason))
    }

    /// How instances are called.
    pub(crate) fn caller_options(&self) -> CallerOptions {
        CallerOptions::default().with_ttheader(self.thrift_framing == ThriftFraming::Ttheader)
    }

    /// Refuses to be open to others by accident.
    fn check_listeners(&self) -> Result<(), String> {
        let authenticated = self.master_api_key.is_some();
        if self.amqp_rpc && self.amqp.is_none() {
            return Err("amqp-rpc: needs the broker: set amqp beside it".to_owned());
        }
        if self.amqp_rpc && !authenticated && !self.allow_unauthenticated {
            let way_out = "set a master API key, or say --allow-unauthenticated";
            return Err(format!(
                "amqp-rpc: whoever is at the broker could do all without authentication: {way_out}"
            ));
        }
        for (name, address, open) in [
            ("http", self.http, !authenticated),
            ("grpc", self.grpc, !authenticated && self.grpc_tokens.is_empty()),
            ("admin", self.admin, true),
            ("thrift", self.thrift.unwrap_or(loopback(0)), !authenticated),
            ("easyops", self.easyops.unwrap_or(loopback(0)), true),
        ] {
            if open && !address.ip().is_loopback() && !self.allow_unauthenticated {
                let way_out = match name {
                    "http" | "thrift" => "set a master API key, or say --allow-unauthenticated",
                    "grpc" => "set a master API key or tokens, or say --allow-unauthenticated",
                    _ => "listen on loopback, or say --allow-unauthenticated",
                };
                return Err(format!(
                    "{name}: {address} can be reached by others without authentication: {way_out}"
                ));
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("config: {shown}: {error}"))?;
    toml::from_str(&text).map_err(|error| {
        // The full message quotes the line, and the line may hold a key.
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        format!("config: {shown}: line {line}: {}", error.message())
    })
}

fn checked_key(text: String) -> Result<ApiKey, String> {
    match text.len() {
        16.. => Ok(ApiKey::from_text(text)),
        _ => Err("master-api-key: must have at least 16 characters".to_owned()),
    }
}

fn authorities(texts: Option<Vec<String>>) -> Result<Vec<AuthorityKey>, String> {
    let keys = texts.unwrap_or_default().into_iter().map(|text| AuthorityKey::parse(&text));
    keys.collect::<Result<_, _>>().map_err(|error| format!("authority: {error}"))
}

fn checked_token(text: String) -> Result<ApiKey, String> {
    match text.len() {
        8.. => Ok(ApiKey::from_text(text)),
        _ => Err("grpc-tokens: each must have at least 8 characters".to_owned()),
    }
}

fn tls_files(files: (Option<PathBuf>, Option<PathBuf>)) -> Result<Option<TlsFiles>, String> {
    match files {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err("grpc-tls-cert: needs grpc-tls-key beside it".to_owned()),
        (None, Some(_)) => Err("grpc-tls-key: needs grpc-tls-cert beside it".to_owned()),
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use portolan::identity::Authority;

    use super::*;

    fn settle(flags: Flags) -> Result<Config, String> {
        Config::settle(flags)
    }

    #[test]
    fn flags_go_before_the_file_and_unknown_keys_are_errors() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ttl = \"10s\"\nhttp = \"127.0.0.1:1\"\n").unwrap();
        let flags = Flags {
            config: Some(file.path().to_owned()),
            http: Some(loopback(2)),
            ..Flags::default()
        };
        let config = settle(flags.clone()).unwrap();
        assert_eq!(config.http, loopback(2));
        assert_eq!(config.terms.ttl(), Duration::from_secs(10));
        assert_eq!(config.terms.ttd(), Duration::from_secs(90));
        std::fs::write(file.path(), "tll = \"10s\"\nmaster_api_key = \"secret-secret-secret\"")
            .unwrap();
        let error = settle(flags).unwrap_err();
        assert!(error.contains("tll") && error.contains("line 1"), "{error}");
        assert!(!error.contains("secret-secret"), "{error}");
    }

    #[test]
    fn others_are_not_let_in_by_accident() {
        let open: SocketAddr = "0.0.0.0:4200".parse().unwrap();
        let http = Flags { http: Some(open), ..Flags::default() };
        assert!(settle(http.clone()).unwrap_err().contains("http"));
        let with_key = Flags { master_api_key: Some("0123456789abcdef".into()), ..http.clone() };
        assert!(settle(with_key).is_ok());
        let explicit = Flags { allow_unauthenticated: Some(true), ..http };
        assert!(settle(explicit).is_ok());
        let admin = Flags {
            admin: Some(open),
            master_api_key: Some("0123456789abcdef".into()),
            ..Flags::default()
        };
        assert!(settle(admin).unwrap_err().contains("admin"));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let short = Flags { master_api_key: Some("short".into()), ..Flags::default() };
        assert!(settle(short).unwrap_err().contains("master-api-key"));
        let amqp = Flags { amqp: Some("http://u:secret@h".into()), ..Flags::default() };
        let said = settle(amqp).unwrap_err();
        assert!(said.contains("amqp://") && !said.contains("secret"), "{said}");
        let prefix = Flags { amqp_prefix: Some("a b".into()), ..Flags::default() };
        assert!(settle(prefix).unwrap_err().contains("amqp-prefix"));
        let rpc = || Flags { amqp_rpc: Some(true), ..Flags::default() };
        assert!(settle(rpc()).unwrap_err().contains("set amqp"));
        let open = Flags { amqp: Some("amqp://h".into()), ..rpc() };
        assert!(settle(open).unwrap_err().contains("master API key"));
        let key = || Some(vec![Authority::generate().unwrap().key().to_string()]);
        let alone = Flags { authority: key(), ..Flags::default() };
        assert!(settle(alone).unwrap_err().contains("set identity"));
        let junk = Flags { authority: Some(vec!["x".into()]), ..Flags::default() };
        assert!(settle(junk).unwrap_err().contains("ed25519:"));
        let both = Flags { authority: key(), identity: Some("f".into()), ..Flags::default() };
        assert!(settle(both).is_ok());
        let cidr = Flags { allow_addresses: Some(vec!["10.0.0.0/99".into()]), ..Flags::default() };
        assert!(settle(cidr).unwrap_err().contains("allow-addresses"));
    }
}
