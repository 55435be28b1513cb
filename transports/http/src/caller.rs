//! The calling side: pools of connections, and what their failures mean. What stands in
//! a request is `message`'s; TLS and HTTP/2 are not spoken.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt::{self, Debug};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Peer, Reply};
use registry_api::{Address, AddressPolicy, Epoch, ErrorKind, InstanceId, Target, Transport};
use tokio::time::timeout;

use crate::dial::Dial;
use crate::{MAX_MESSAGE, message};

/// Calls instances at `http://host:port`, over connections that are used again: one for
/// each call under way, kept by (address, instance id, epoch).
pub struct HttpCaller {
    policy: AddressPolicy,
    max_message: usize,
    known: Mutex<HashMap<Address, Known>>,
}

type Pool = Client<Dial, Full<Bytes>>;

struct Known {
    life: Option<(InstanceId, Epoch)>,
    pool: Pool,
}

/// The most addresses that are remembered; all are forgotten beyond it.
const MAX_KNOWN: usize = 10_000;
/// How long a connection that nobody uses is kept: less than hosts keep it.
const IDLE: Duration = Duration::from_secs(20);
/// The most connections to one instance that are kept.
const MAX_IDLE: usize = 64;

impl HttpCaller {
    /// Dials what `policy` lets it.
    pub fn new(policy: AddressPolicy) -> Self {
        Self { policy, max_message: MAX_MESSAGE, known: Mutex::default() }
    }

    /// Sets the largest message that is sent or taken, in bytes.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self, peer: Peer<'_>) -> Pool {
        let life = peer.life.map(|(id, epoch)| (id.clone(), epoch));
        let mut known = self.lock();
        if let Some(found) = known.get(peer.address).filter(|found| found.life == life) {
            return found.pool.clone();
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(Dial(self.policy.clone()));
        known.insert(peer.address.clone(), Known { life, pool: pool.clone() });
        pool
    }
}

#[async_trait]
impl Caller for HttpCaller {
    fn speaks(&self, address: &Address) -> bool {
        address.transport() == Transport::Http && address.as_str().starts_with("http:")
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let Target::Host { host, port } = peer.address.target() else {
            return Err(failed(ErrorKind::Unavailable, "the address is not one of HTTP").not_run());
        };
        if call.payload.len() > self.max_message {
            let reason = format!("the call cannot be sent: more than {} bytes", self.max_message);
            return Err(failed(ErrorKind::InvalidArgument, reason).not_run());
        }
        let authority = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let request = message::to_request(&call, &authority)?;
        let pool = self.pool(peer);
        let asked = async {
            let answer = pool.request(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, self.max_message).collect().await;
            message::to_outcome(&head, body.map_err(|error| broken(&*error))?.to_bytes())
        };
        let answer = timeout(call.time_left(), asked).await;
        answer.unwrap_or_else(|_| Err(failed(ErrorKind::Timeout, "no answer before the deadline")))
    }
}

/// A call without an answer: not run where there was no connection to begin with.
fn unreachable(error: &Error) -> CallError {
    let reason = format!("the instance cannot be reached: {}", chain(error));
    let mut source = error.source();
    while let Some(cause) = source {
        let refused = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if refused == Some(io::ErrorKind::PermissionDenied) {
            return failed(ErrorKind::PermissionDenied, reason).not_run();
        }
        source = cause.source();
    }
    let failure = failed(ErrorKind::Unavailable, reason);
    if error.is_connect() { failure.not_run() } else { failure }
}

/// An answer that does not come whole.
fn broken(error: &(dyn StdError + Send + Sync + 'static)) -> CallError {
    match error.is::<LengthLimitError>() {
        true => CallError::new(CallErrorKind::Framework, "the answer is too large"),
        false => failed(ErrorKind::Unavailable, format!("the answer broke off: {}", chain(error))),
    }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn failed(kind: ErrorKind, reason: impl Into<String>) -> CallError {
    CallError::new(kind.into(), reason)
}

impl Debug for HttpCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCaller").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}
