//! Connections to a gRPC server, as every caller of this crate makes them.

use std::fmt::{self, Debug};
use std::time::Duration;

use registry_api::{Error, Result};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Whom a server has to prove that it is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Security {
    /// Nobody: HTTP/2 in the clear.
    Plaintext,
    /// The name that was dialled, by a certificate that one of these signed (PEM).
    Roots(Vec<u8>),
    /// The name that was dialled, by a certificate that the system trusts.
    SystemRoots,
}

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that is quiet for so long is asked whether it is still there …
const PING: Duration = Duration::from_secs(10);
/// … and is given up after so long without an answer.
const PONG: Duration = Duration::from_secs(5);
/// Room for the bodies of many calls at a time, per stream and in all.
const WINDOWS: (u32, u32) = (4 << 20, 16 << 20);
/// The largest frame that is taken.
const FRAME: u32 = 256 << 10;

/// A channel to `host:port`, dialled when it is first used and again when it
/// breaks.
///
/// Errors: `InvalidArgument` for an address or certificates that are none.
pub fn channel(host: &str, security: &Security) -> Result<Channel> {
    Ok(endpoint(host, security)?.connect_lazy())
}

/// A server at `host:port`, not yet dialled.
pub fn endpoint(host: &str, security: &Security) -> Result<Endpoint> {
    let invalid = |field, rule| move |error| Error::invalid(field, rule).because(error);
    let scheme = match security {
        Security::Plaintext => "http",
        Security::Roots(_) | Security::SystemRoots => "https",
    };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}"));
    let endpoint = endpoint.map_err(invalid("address", "must read host:port"))?;
    let (stream, connection) = WINDOWS;
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .max_frame_size(FRAME);
    let tls = ClientTlsConfig::new();
    let tls = match security {
        Security::Plaintext => return Ok(endpoint),
        Security::Roots(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        Security::SystemRoots => tls.with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(invalid("ca", "must hold certificates in PEM"))
}

impl Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "Plaintext",
            Self::Roots(_) => "Roots(…)",
            Self::SystemRoots => "SystemRoots",
        })
    }
}
