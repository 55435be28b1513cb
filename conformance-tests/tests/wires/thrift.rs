//! Thrift over real sockets, in three of its manners.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::calls::{Need, Wire, WireWorld};
use conformance_tests::{Absent, Failure, check};
use portolan::call::{Caller, Handler, Host};
use portolan::thrift::{CallerOptions, HostOptions, ThriftCaller, ThriftHost};
use portolan::{Address, AddressPolicy, Metadata, Offer, ServiceName, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::proxy::{Proxied, Proxy};

/// A manner of speaking to our host.
#[derive(Debug)]
pub(crate) struct ThriftWire {
    name: &'static str,
    /// `None` is what our host itself offers.
    facts: Option<&'static [(&'static str, &'static str)]>,
    carries_headers: bool,
}

/// Multiplexed TTHeader, pooled TTHeader, and framed as any peer understands it.
pub(crate) const ALL: [ThriftWire; 3] = [
    ThriftWire { name: "thrift", facts: None, carries_headers: true },
    ThriftWire {
        name: "thrift/pooled",
        facts: Some(&[("thrift.framing", "ttheader")]),
        carries_headers: true,
    },
    ThriftWire { name: "thrift/framed", facts: Some(&[]), carries_headers: false },
];

struct ThriftWorld {
    facts: Option<Metadata>,
    caller: Arc<ThriftCaller>,
    proxies: Arc<Mutex<Vec<Proxy>>>,
}

#[async_trait]
impl Wire for ThriftWire {
    fn name(&self) -> &str {
        self.name
    }

    fn has(&self, need: Need) -> bool {
        need != Need::Headers || self.carries_headers
    }

    async fn open(&self) -> Result<Box<dyn WireWorld>, Absent> {
        let policy = AddressPolicy::new().allow_loopback(true);
        let facts = self.facts.map(|facts| Metadata::new(facts.iter().copied()));
        Ok(Box::new(ThriftWorld {
            facts: facts.transpose().map_err(|error| Absent(error.to_string()))?,
            caller: Arc::new(ThriftCaller::new(policy, CallerOptions::default())),
            proxies: Arc::default(),
        }))
    }
}

fn io(error: &std::io::Error) -> Failure {
    Failure::new(error.to_string())
}

#[async_trait]
impl WireWorld for ThriftWorld {
    async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> Result<Box<dyn Host>, Failure> {
        let options = HostOptions::default().with_max_inflight(max_inflight);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let host =
            ThriftHost::serve(service.clone(), any, handler, options).await.map_err(|e| io(&e))?;
        let listening = host.local_addr().ok_or_else(|| Failure::new("it listens nowhere"))?;
        let proxy = Proxy::start(listening).await.map_err(|e| io(&e))?;
        let address = Address::host("thrift", "127.0.0.1", proxy.address.port())?;
        let facts = match &self.facts {
            Some(facts) => facts.clone(),
            None => host.offers()[0].metadata.clone(),
        };
        let offer = Offer::new(service, address).with_metadata(facts);
        self.proxies.lock().await.push(proxy);
        let proxies = Arc::clone(&self.proxies);
        Ok(Box::new(Proxied { host: Box::new(host), offer, proxies }))
    }

    fn caller(&self) -> Arc<dyn Caller> {
        Arc::<ThriftCaller>::clone(&self.caller)
    }

    async fn cut(&self) {
        self.proxies.lock().await.iter().for_each(Proxy::cut);
    }

    async fn other_versions(&self, host: &dyn Host) -> Result<(), Failure> {
        let offers = host.offers();
        let Target::Host { port, .. } = offers[0].addresses[0].target() else {
            return Err(Failure::new("the address names no port"));
        };
        speak_others((Ipv4Addr::LOCALHOST, port).into()).await
    }
}

/// The struct that `echo` gives back.
const BODY: &[u8] = &[11, 0, 1, 0, 0, 0, 2, b'h', b'i', 0];

fn message() -> Vec<u8> {
    let head = [0x80, 1, 0, 1, 0, 0, 0, 4, b'e', b'c', b'h', b'o', 0, 0, 0, 9];
    [&head[..], BODY].concat()
}

/// An old peer sends the bare message; a new one a TTHeader with flags, numbers
/// and entries that no version of today knows the meaning of.
async fn speak_others(address: SocketAddr) -> Result<(), Failure> {
    let old = message();
    let entries: &[u8] = &[
        0, 0, // Binary Thrift, no transforms.
        0x10, 0, 2, // Two numbered pairs: of keys 999 and 998.
        3, 231, 0, 1, b'x', 3, 230, 0, 0, //
        0x11, 0, 3, b't', b'o', b'k', // An ACL token.
        0x01, 0, 1, 0, 3, b'n', b'e', b'w', 0, 1, b'1', // A pair of texts.
        0,
    ];
    let entries = [entries, &vec![0; (4 - entries.len() % 4) % 4]].concat();
    let length = 10 + entries.len() + old.len();
    let mut new = (length as u32).to_be_bytes().to_vec();
    new.extend([0x10, 0, 0, 0x40, 0, 0, 0, 9, 0, (entries.len() / 4) as u8]);
    new.extend(&entries);
    new.extend(&old);
    for (version, question) in [("older", old), ("newer", new)] {
        let mut stream = TcpStream::connect(address).await.map_err(|e| io(&e))?;
        stream.write_all(&question).await.map_err(|e| io(&e))?;
        let mut answer = Vec::new();
        while !answer.ends_with(BODY) {
            let read = stream.read_buf(&mut answer).await.map_err(|e| io(&e))?;
            check(read > 0, format_args!("the {version} peer's link was closed: {answer:x?}"))?;
        }
    }
    Ok(())
}
