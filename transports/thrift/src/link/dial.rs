//! Making a connection.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::call::CallError;
use registry_api::{Address, AddressPolicy, ErrorKind, Target, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::failed;

/// A connection's bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Makes connections to addresses.
#[async_trait]
pub trait Dial: Debug + Send + Sync + 'static {
    /// Connects to `thrift://host:port`.
    async fn dial(&self, address: &Address) -> Result<Box<dyn Stream>, CallError>;
}

/// Dials over TCP what its policy lets it.
#[derive(Clone, Debug)]
pub struct TcpDial {
    policy: AddressPolicy,
}

/// How long a connection may take to be made, within the call's own time.
const CONNECT: Duration = Duration::from_secs(2);

impl TcpDial {
    /// Judges every resolved address by `policy` before it is dialled.
    pub fn new(policy: AddressPolicy) -> Self {
        Self { policy }
    }
}

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, address: &Address) -> Result<Box<dyn Stream>, CallError> {
        let (Transport::Thrift, Target::Host { host, port }) =
            (address.transport(), address.target())
        else {
            return Err(failed(ErrorKind::Unsupported, "the address is not a Thrift one"));
        };
        let resolved = lookup_host((host, port)).await;
        let resolved = resolved.map_err(|error| unreachable(&error))?;
        let mut refused = failed(ErrorKind::Unavailable, "the host name has no address");
        for ip in resolved {
            // Judged now, on what is dialled: a name may resolve to anything.
            match self.policy.check(ip) {
                Ok(()) => match connect(ip).await {
                    Ok(stream) => return Ok(Box::new(stream)),
                    Err(error) => refused = unreachable(&error),
                },
                Err(refusal) => {
                    let reason = format!("the instance's address {refusal}");
                    refused = failed(ErrorKind::PermissionDenied, reason).not_run();
                }
            }
        }
        Err(refused)
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unreachable(error: &io::Error) -> CallError {
    failed(ErrorKind::Unavailable, format!("the instance cannot be reached: {error}")).not_run()
}
