//! The calling side.

use std::sync::Arc;

use async_trait::async_trait;
use registry_api::call::{Call, CallError, Caller, Peer, Reply};
use registry_api::{Address, AddressPolicy, ErrorKind, Transport};
use tokio::time::timeout;

use crate::MAX_MESSAGE;
use crate::link::{Dial, Manner, Peers, Question, TcpDial, failed};
use crate::manner;
use crate::wire::Framing;

/// Calls instances at `thrift://host:port`.
///
/// A call's payload is the encoded argument struct, a reply's the encoded
/// result struct; see [`json`](crate::json). Connections are kept and used
/// again, by (address, instance id, epoch), and closed when they were idle for
/// half a minute. How a peer is spoken to is a matter of its offer's metadata;
/// see [`manner`].
#[derive(Debug)]
pub struct ThriftCaller {
    peers: Peers,
    usual: Framing,
    max_message: usize,
}

/// How a caller behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallerOptions {
    /// The most calls to one instance at a time; what is beyond is refused as
    /// `Overloaded`.
    pub max_inflight: usize,
    /// Whether peers whose offers say nothing are taken to understand TTHeader.
    pub ttheader: bool,
    /// The largest message that is sent or taken, in bytes.
    pub max_message: usize,
}

impl Default for CallerOptions {
    /// 1,024 calls, framed for those who say nothing, messages of 1 MiB.
    fn default() -> Self {
        Self { max_inflight: 1024, ttheader: false, max_message: MAX_MESSAGE }
    }
}

impl CallerOptions {
    /// Sets the most calls to one instance at a time.
    #[must_use]
    pub fn with_max_inflight(mut self, calls: usize) -> Self {
        self.max_inflight = calls;
        self
    }

    /// Says whether peers whose offers say nothing are taken to understand TTHeader.
    #[must_use]
    pub fn with_ttheader(mut self, yes: bool) -> Self {
        self.ttheader = yes;
        self
    }

    /// Sets the largest message.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }
}

impl ThriftCaller {
    /// A caller that dials only what `policy` lets it.
    pub fn new(policy: AddressPolicy, options: CallerOptions) -> Self {
        Self::over(Arc::new(TcpDial::new(policy)), options)
    }

    /// A caller over connections of another kind.
    pub fn over(dial: Arc<dyn Dial>, options: CallerOptions) -> Self {
        let usual = match options.ttheader {
            true => manner::HEADER,
            false => Framing::Framed,
        };
        let peers = Peers::new(dial, options.max_inflight);
        Self { peers, usual, max_message: options.max_message }
    }
}

#[async_trait]
impl Caller for ThriftCaller {
    fn speaks(&self, address: &Address) -> bool {
        address.transport() == Transport::Thrift
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let question = Question::new(&call, Manner::of(peer, self.usual), self.max_message);
        match timeout(call.time_left(), self.peers.call(peer, &question)).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(ErrorKind::Timeout, "no answer before the deadline")),
        }
    }
}
