//! Calls to services that can be dialled: `grpc://host:port`, `grpcs://` over TLS, and
//! `easyops://` as servers of go-easyops want to be.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use registry_api::call::{Call, CallError, Caller, Peer, Reply};
use registry_api::{
    Address, AddressPolicy, Epoch, Error, ErrorKind, InstanceId, Result, Target, Transport,
};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::transport::Channel;
use tower_service::Service;

use crate::channel::{Security, endpoint};
use crate::easyops::{Dial, Identity, SCHEME};
use crate::reverse::MAX_PAYLOAD;
use crate::unary;

/// Calls instances at `grpc://host:port`. One HTTP/2 connection each, kept by
/// (address, instance id, epoch); those of lives that are over are let go.
pub struct GrpcCaller {
    policy: AddressPolicy,
    way: Way,
    known: Mutex<HashMap<Address, Known>>,
}

/// Whom a caller speaks to.
enum Way {
    /// Servers of gRPC; the security is for `grpcs://`.
    Plain(Security),
    /// Servers of go-easyops.
    Easyops(Dial),
}

struct Known {
    life: Option<(InstanceId, Epoch)>,
    channel: Channel,
}

type CallResult<T> = std::result::Result<T, CallError>;

/// The most addresses that are remembered; all are forgotten beyond it.
const MAX_KNOWN: usize = 10_000;

impl GrpcCaller {
    /// Dials what `policy` lets it; `security` is for `grpcs://`.
    pub fn new(policy: AddressPolicy, security: Security) -> Self {
        Self { policy, way: Way::Plain(security), known: Mutex::default() }
    }

    /// Calls servers of go-easyops, at `easyops://host:port`, as the service of
    /// `identity`.
    ///
    /// Errors: `Unavailable` where there is no TLS.
    pub fn easyops(policy: AddressPolicy, identity: Arc<Identity>) -> Result<Self> {
        let none =
            |error| Error::new(ErrorKind::Unavailable, "TLS cannot be configured").because(error);
        let dial = Dial::new(identity).map_err(none)?;
        Ok(Self { policy, way: Way::Easyops(dial), known: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, peer: Peer<'_>) -> CallResult<Channel> {
        let life = peer.life.map(|(id, epoch)| (id.clone(), epoch));
        let mut known = self.lock();
        if let Some(found) = known.get(peer.address).filter(|found| found.life == life) {
            return Ok(found.channel.clone());
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let channel = self.open(peer.address)?;
        let entry = Known { life, channel: channel.clone() };
        known.insert(peer.address.clone(), entry);
        Ok(channel)
    }

    fn open(&self, address: &Address) -> CallResult<Channel> {
        let (Transport::Grpc, Target::Host { host, port }) =
            (address.transport(), address.target())
        else {
            return Err(failed(ErrorKind::Unavailable, "the address is not one of gRPC"));
        };
        let security = match &self.way {
            Way::Plain(security) if address.as_str().starts_with("grpcs:") => security,
            _ => &Security::Plaintext, // TLS of go-easyops is the connector's.
        };
        let host = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let endpoint = endpoint(&host, security);
        let endpoint =
            endpoint.map_err(|error| failed(ErrorKind::Unavailable, &error.to_string()))?;
        let policy = self.policy.clone();
        if let Way::Easyops(easyops) = &self.way {
            let easyops = easyops.clone();
            return Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
                let (policy, host, easyops) = (policy.clone(), host.clone(), easyops.clone());
                async move {
                    let stream = dial(&policy, &host).await.map_err(NotConnected)?;
                    easyops.secure(stream).await.map(TokioIo::new).map_err(NotConnected)
                }
            })));
        }
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let (policy, host) = (policy.clone(), host.clone());
            async move { dial(&policy, &host).await.map(TokioIo::new).map_err(NotConnected) }
        })))
    }
}

/// Every resolved address is judged before it is dialled: a name may resolve to
/// anything.
async fn dial(policy: &AddressPolicy, host: &str) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for ip in lookup_host(host).await? {
        match judge(policy, ip) {
            Ok(()) => match TcpStream::connect(ip).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => refused = error,
            },
            Err(refusal) => refused = refusal,
        }
    }
    Err(refused)
}

fn judge(policy: &AddressPolicy, ip: SocketAddr) -> io::Result<()> {
    policy.check(ip).map_err(|refusal| {
        let reason = format!("the instance's address {refusal}");
        io::Error::new(io::ErrorKind::PermissionDenied, reason)
    })
}

#[async_trait]
impl Caller for GrpcCaller {
    fn speaks(&self, address: &Address) -> bool {
        let is_easyops = address.as_str().starts_with(SCHEME);
        address.transport() == Transport::Grpc && is_easyops == matches!(self.way, Way::Easyops(_))
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> CallResult<Reply> {
        if call.payload.len() > MAX_PAYLOAD {
            let reason = format!("the call cannot be sent: more than {MAX_PAYLOAD} bytes");
            return Err(failed(ErrorKind::InvalidArgument, &reason));
        }
        let mut channel = self.channel(peer)?;
        let mut request = unary::request(&call)?;
        if let Way::Easyops(easyops) = &self.way {
            easyops.sign(request.headers_mut());
        }
        let asked = async {
            // Ready or not: until here nothing was sent.
            let ready = std::future::poll_fn(|cx| channel.poll_ready(cx)).await;
            ready.map_err(|error| failed(ErrorKind::Unavailable, &chain(&error)))?;
            let answer = channel.call(request).await;
            let answer = answer.map_err(|error| unreachable(&error))?;
            unary::read(answer).await
        };
        let answer = timeout(call.time_left(), asked).await;
        answer.unwrap_or_else(|_| {
            Err(CallError::new(ErrorKind::Timeout.into(), "no answer before the deadline"))
        })
    }
}

/// Nothing was sent: there was no connection.
#[derive(Debug)]
struct NotConnected(io::Error);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for NotConnected {}

/// A call without an answer: not run where there was no connection to begin with.
fn unreachable(error: &tonic::transport::Error) -> CallError {
    let reason = format!("the instance cannot be reached: {}", chain(error));
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(NotConnected(refused)) = cause.downcast_ref() {
            return match refused.kind() {
                io::ErrorKind::PermissionDenied => failed(ErrorKind::PermissionDenied, &reason),
                _ => failed(ErrorKind::Unavailable, &reason),
            };
        }
        source = cause.source();
    }
    CallError::new(ErrorKind::Unavailable.into(), reason)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn failed(kind: ErrorKind, reason: &str) -> CallError {
    CallError::new(kind.into(), reason).not_run()
}

impl Debug for GrpcCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcCaller").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use registry_api::ServiceName;

    use super::*;

    #[tokio::test]
    async fn who_cannot_be_dialled_has_not_run_the_call() {
        let call = Call::new(ServiceName::parse("a.B").unwrap(), "M", Bytes::new());
        let caller = |policy| GrpcCaller::new(policy, Security::Plaintext);
        for (address, kind) in [
            ("grpc://127.0.0.1:1", ErrorKind::Unavailable),
            ("grpc://169.254.169.254:1", ErrorKind::PermissionDenied),
        ] {
            let address = Address::parse(address).unwrap();
            let caller = caller(AddressPolicy::new().allow_loopback(true));
            let outcome = caller.call(Peer::at(&address), call.clone()).await;
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), kind.into(), "{error:?}");
            assert!(!error.may_have_run(), "{error:?}");
        }
    }
}
