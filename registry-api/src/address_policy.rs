//! Which addresses a gateway is willing to call.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::error::{Error, Result};

/// Says whether an address may be called: applied when an instance connects
/// through a gateway, and again to the resolved IP before dialling.
///
/// It never applies to listing: a refused address that is already registered
/// stays visible, it is only not called.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
    loopback: bool,
    own_listeners: Vec<SocketAddr>,
}

/// Why an address may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressRefusal {
    /// It only means "everybody".
    Broadcast,
    /// It is the address of the gateway itself.
    OwnListener,
    /// It only has a meaning on one link, metadata services included.
    LinkLocal,
    /// It is this machine, and the gateway serves others.
    Loopback,
    /// A spelling of an IP address that programs read differently.
    Malformed,
    /// The metadata service of a cloud.
    MetadataService,
    /// It means a group.
    Multicast,
    /// It means no host at all.
    Unspecified,
}

impl AddressPolicy {
    /// Refuses what is never a service: unspecified, loopback, link-local,
    /// multicast, broadcast and metadata-service addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows loopback, for a gateway whose own listeners are on loopback.
    #[must_use]
    pub fn allow_loopback(mut self, allow: bool) -> Self {
        self.loopback = allow;
        self
    }

    /// Allows a block such as `10.1.0.0/16`, whatever else the policy says.
    pub fn allow(mut self, cidr: &str) -> Result<Self> {
        let net = cidr.parse::<IpNet>().or_else(|_| cidr.parse::<IpAddr>().map(IpNet::from));
        let net = net.map_err(|_| {
            Error::invalid("allow-addresses", "must be a CIDR such as 10.1.0.0/16")
                .with("value", cidr)
        })?;
        self.allowed.push(net);
        Ok(self)
    }

    /// Refuses the gateway's own listener, so that a call cannot loop.
    #[must_use]
    pub fn refuse_listener(mut self, listener: SocketAddr) -> Self {
        self.own_listeners.push(listener);
        self
    }

    /// Checks a host as a caller wrote it and returns its canonical form.
    ///
    /// Host names pass; they are judged by [`check`](Self::check) when they
    /// have been resolved. A name that looks like an IPv4 address must be one:
    /// octal, hexadecimal and short forms are refused, leading zeros pass where
    /// octal and decimal agree (`127.0.0.01`).
    pub fn check_host(&self, host: &str, port: u16) -> Result<String, AddressRefusal> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let ip = match bare.parse::<IpAddr>() {
            Ok(ip) => Some(ip),
            Err(_) => parse_lenient_v4(bare)?,
        };
        let Some(ip) = ip else {
            // RFC 6761 promises that these names mean loopback.
            let local = host.trim_end_matches('.').to_ascii_lowercase();
            if local == "localhost" || local.ends_with(".localhost") {
                self.check(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?;
            }
            return Ok(host.to_owned());
        };
        self.check(SocketAddr::new(ip, port))?;
        Ok(ip.to_string())
    }

    /// Checks the address that is about to be dialled.
    pub fn check(&self, address: SocketAddr) -> Result<(), AddressRefusal> {
        let ip = embedded_v4(address.ip()).map_or(address.ip(), IpAddr::V4);
        if self.is_own_listener(ip, address.port()) {
            return Err(AddressRefusal::OwnListener);
        }
        if self.allowed.iter().any(|net| net.contains(&ip)) {
            return Ok(());
        }
        match refusal(ip) {
            Some(AddressRefusal::Loopback) if self.loopback => Ok(()),
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    fn is_own_listener(&self, ip: IpAddr, port: u16) -> bool {
        let same = |own: &SocketAddr| {
            own.port() == port
                && (own.ip() == ip || (own.ip().is_unspecified() && ip.is_loopback()))
        };
        self.own_listeners.iter().any(same)
    }
}

fn refusal(ip: IpAddr) -> Option<AddressRefusal> {
    match ip {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some(AddressRefusal::Unspecified),
        IpAddr::V4(v4) if v4.is_broadcast() => Some(AddressRefusal::Broadcast),
        IpAddr::V4(v4) if v4.is_link_local() => Some(AddressRefusal::LinkLocal),
        IpAddr::V4(v4) if v4 == Ipv4Addr::new(100, 100, 100, 200) => {
            Some(AddressRefusal::MetadataService)
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(AddressRefusal::LinkLocal),
        IpAddr::V6(v6) if v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) => {
            Some(AddressRefusal::MetadataService)
        }
        ip if ip.is_unspecified() => Some(AddressRefusal::Unspecified),
        ip if ip.is_loopback() => Some(AddressRefusal::Loopback),
        ip if ip.is_multicast() => Some(AddressRefusal::Multicast),
        _ => None,
    }
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, NAT64 and 6to4
/// forms all reach the same host.
fn embedded_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    if v6.is_unspecified() || v6.is_loopback() {
        return None;
    }
    let s = v6.segments();
    let tail = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(tail(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(tail(high, low)),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => Some(tail(high, low)),
        [0x2002, high, low, ..] => Some(tail(high, low)),
        _ => None,
    }
}

/// Reads a dotted quad with leading zeros; `None` for a host name, an error
/// for a spelling that looks like an IPv4 address and is not a safe one.
fn parse_lenient_v4(host: &str) -> Result<Option<IpAddr>, AddressRefusal> {
    if host.contains(':') {
        return Err(AddressRefusal::Malformed);
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    // The rule of the URL standard: the last label decides whether it is a number.
    let numeric = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    let hex = last.starts_with("0x") || last.starts_with("0X");
    if !numeric && !hex {
        return Ok(None);
    }
    let octets: Option<Vec<u8>> = host.split('.').map(parse_octet).collect();
    match octets.and_then(|octets| <[u8; 4]>::try_from(octets).ok()) {
        Some(octets) => Ok(Some(Ipv4Addr::from(octets).into())),
        None => Err(AddressRefusal::Malformed),
    }
}

fn parse_octet(text: &str) -> Option<u8> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let decimal = text.parse::<u16>().ok()?;
    let agrees =
        !(text.len() > 1 && text.starts_with('0')) || u16::from_str_radix(text, 8) == Ok(decimal);
    agrees.then(|| u8::try_from(decimal).ok()).flatten()
}

impl Display for AddressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broadcast => "is a broadcast address",
            Self::OwnListener => "is the gateway's own listener",
            Self::LinkLocal => "is a link-local address",
            Self::Loopback => "is a loopback address and the gateway does not listen on loopback",
            Self::Malformed => "is not a canonical IP address",
            Self::MetadataService => "is the metadata service of a cloud",
            Self::Multicast => "is a multicast address",
            Self::Unspecified => "is not the address of a host",
        })
    }
}

impl std::error::Error for AddressRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_spellings_are_refused() {
        let policy = AddressPolicy::new();
        for host in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.0.0.01",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "::1",
            "[::1]",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0x7f000001",
            "127.0.0.0x1",
            "1.2.3.010",
            "1.2.3.4.",
            "1.2.3.4.5",
            "1.2.3.256",
        ] {
            assert!(policy.check_host(host, 80).is_err(), "{host}");
        }
    }

    #[test]
    fn ordinary_hosts_pass_in_canonical_form() {
        let policy = AddressPolicy::new();
        for (host, canonical) in [
            ("10.0.0.01", "10.0.0.1"),
            ("192.168.007.1", "192.168.7.1"),
            ("svc.internal", "svc.internal"),
            ("2001:DB8::1", "2001:db8::1"),
        ] {
            assert_eq!(policy.check_host(host, 80).as_deref(), Ok(canonical));
        }
        let local = AddressPolicy::new().allow_loopback(true);
        assert_eq!(local.check_host("127.0.0.01", 80).as_deref(), Ok("127.0.0.1"));
    }

    #[test]
    fn allowed_blocks_pass_and_the_own_listener_never_does() {
        let policy = AddressPolicy::new().allow("127.0.0.0/8").unwrap();
        let policy = policy.refuse_listener("0.0.0.0:4200".parse().unwrap());
        assert!(policy.check_host("127.0.0.1", 80).is_ok());
        assert!(policy.check_host("127.0.0.1", 4200).is_err());
        assert!(AddressPolicy::new().allow("10.0.0.0/33").is_err());
    }
}
