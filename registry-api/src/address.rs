//! Where an instance can be called, kept as it was written.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An address of an offer: the original string, and a parsed view of it.
///
/// `scheme://host:port[/…]`, `amqp:<queue>` or `reverse:<gateway>/<connection>`.
/// The string round-trips byte for byte (`tcp4://169.254.128.35:4321/` too);
/// whether it may be dialled is an [`AddressPolicy`](crate::AddressPolicy)'s say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Arc<str>);

/// The wire an address is called over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A queue of a broker.
    Amqp,
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// A connection that the service itself opened to a gateway.
    Reverse,
    /// Bytes over TCP, by a protocol the registry does not know.
    Tcp,
    /// Thrift in any of its framings.
    Thrift,
    /// A scheme this version has no wire for; listed, never called.
    Other,
}

impl Transport {
    fn of_scheme(scheme: &str) -> Self {
        match scheme {
            "thrift" => Self::Thrift,
            "grpc" | "grpcs" | "easyops" => Self::Grpc,
            "http" | "https" => Self::Http,
            "tcp" | "tcp4" | "tcp6" => Self::Tcp,
            "amqp" => Self::Amqp,
            "reverse" => Self::Reverse,
            _ => Self::Other,
        }
    }

    /// The name, as filters and JSON write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Reverse => "reverse",
            Self::Tcp => "tcp",
            Self::Thrift => "thrift",
            Self::Other => "other",
        }
    }

    /// The transport named `text`, as filters and JSON write it.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "amqp" => Ok(Self::Amqp),
            "grpc" => Ok(Self::Grpc),
            "http" => Ok(Self::Http),
            "reverse" => Ok(Self::Reverse),
            "tcp" => Ok(Self::Tcp),
            "thrift" => Ok(Self::Thrift),
            "other" => Ok(Self::Other),
            _ => Err(Error::invalid(
                "transport",
                "must be one of amqp, grpc, http, reverse, tcp, thrift, other",
            )),
        }
    }
}

/// The place an address points to, borrowed from its string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A host (name or IP literal, without brackets) and a port.
    Host {
        /// The host.
        host: &'a str,
        /// The port, from the scheme's default where the string has none.
        port: u16,
    },
    /// A queue of the broker both sides share.
    Queue(&'a str),
    /// A connection held open by a gateway.
    Connection {
        /// The gateway's instance id.
        gateway: &'a str,
        /// The id of the connection on that gateway.
        connection: &'a str,
    },
}

const MAX_ADDRESS: usize = 1024;

impl Address {
    /// Checks that `text` is an address; nothing is resolved or dialled.
    pub fn parse(text: &str) -> Result<Self> {
        if !(1..=MAX_ADDRESS).contains(&text.len()) {
            return Err(invalid(format!("must have 1 to {MAX_ADDRESS} bytes")));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("must hold no control or space character"));
        }
        split(text)?;
        Ok(Self(text.into()))
    }

    /// An address of `transport`-like scheme at a host and port.
    pub fn host(scheme: &str, host: &str, port: u16) -> Result<Self> {
        let bracket = host.contains(':') && !host.starts_with('[');
        let text = if bracket {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        };
        Self::parse(&text)
    }

    /// The string as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The wire to call it over.
    pub fn transport(&self) -> Transport {
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        Transport::of_scheme(scheme)
    }

    /// The place it points to.
    pub fn target(&self) -> Target<'_> {
        split(&self.0).expect("checked when it was parsed")
    }
}

fn split(text: &str) -> Result<Target<'_>> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(invalid("must start with a scheme, as in thrift://host:port"));
    };
    if scheme.is_empty() || !scheme.bytes().all(is_scheme_byte) {
        return Err(invalid("has a scheme that is not a-z, 0-9, '+', '-' or '.'"));
    }
    match Transport::of_scheme(scheme) {
        Transport::Amqp if !rest.is_empty() => Ok(Target::Queue(rest)),
        Transport::Reverse => split_connection(rest),
        _ => split_authority(scheme, rest),
    }
}

fn split_connection(rest: &str) -> Result<Target<'_>> {
    match rest.split_once('/') {
        Some((gateway, connection)) if !gateway.is_empty() && !connection.is_empty() => {
            Ok(Target::Connection { gateway, connection })
        }
        _ => Err(invalid("must read reverse:<gateway>/<connection>")),
    }
}

fn split_authority<'a>(scheme: &str, rest: &'a str) -> Result<Target<'a>> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(invalid("must read scheme://host:port"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') {
        return Err(invalid("must hold no credentials"));
    }
    let (host, port) = split_host_port(authority)?;
    let port = match (port, scheme) {
        (Some(port), _) => parse_port(port)?,
        (None, "http" | "ws") => 80,
        (None, "https" | "wss") => 443,
        (None, _) => return Err(invalid("must have a port")),
    };
    Ok(Target::Host { host, port })
}

fn split_host_port(authority: &str) -> Result<(&str, Option<&str>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let Some((host, after)) = literal.split_once(']') else {
                return Err(invalid("has an IPv6 literal without its ']'"));
            };
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(invalid("has text between ']' and the port")),
            }
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || (!authority.starts_with('[') && host.contains(':')) {
        return Err(invalid("must have a host; IPv6 literals stand in brackets"));
    }
    Ok((host, port))
}

fn parse_port(port: &str) -> Result<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(invalid("must have a port from 1 to 65535")),
    }
}

fn is_scheme_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.')
}

fn invalid(rule: impl Into<String>) -> Error {
    Error::invalid("address", rule)
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&*self.0, f)
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        (*address.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_point_where_they_say() {
        let host = |host, port| Target::Host { host, port };
        let connection = Target::Connection { gateway: "gw-1", connection: "c/2" };
        for (text, transport, target) in [
            ("thrift://10.0.0.1:9999", Transport::Thrift, host("10.0.0.1", 9999)),
            ("tcp4://169.254.128.35:4321/", Transport::Tcp, host("169.254.128.35", 4321)),
            ("grpc://[::1]:50051", Transport::Grpc, host("::1", 50051)),
            ("https://api.example", Transport::Http, host("api.example", 443)),
            ("ws://h:1/x?y", Transport::Other, host("h", 1)),
            ("amqp:server-x-1", Transport::Amqp, Target::Queue("server-x-1")),
            ("reverse:gw-1/c/2", Transport::Reverse, connection),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.as_str(), text);
            assert_eq!(address.transport(), transport, "{text}");
            assert_eq!(address.target(), target, "{text}");
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "",
            "host:80",
            "thrift://",
            "thrift://h",
            "thrift://h:0",
            "thrift://h:65536",
            "thrift://h:+1",
            "thrift://:1",
            "thrift://::1:1",
            "thrift://[::1:1",
            "amqp:",
            "reverse:gw",
            "Thrift://h:1",
            "thrift://u:p@h:1",
            "thrift://h :1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
