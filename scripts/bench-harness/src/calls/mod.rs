//! Thrift calls: our caller and host against the bare socket, and against a peer.
//!
//! Caller and host have a runtime of one thread each; load is closed loops.

mod floor;
pub mod http;
pub mod identity;
mod volo;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use portolan::call::{Call, CallError, Caller, Handler, Host, Peer, Reply};
use portolan::thrift::{CallerOptions, HostOptions, ThriftCaller, ThriftHost};
use portolan::{Address, AddressPolicy, Metadata, ServiceName};
use tokio::runtime::{Builder, Runtime};

use crate::rounds::Table;

/// One closed loop's way to call.
pub trait Calling: Send {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize>;
}

/// Makes a way to call for each loop.
pub type Make = Box<dyn Fn() -> BoxFuture<'static, Box<dyn Calling>>>;

pub fn one_thread() -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime")
}

/// So many calls, by so many loops at once.
pub fn load(clients: &Runtime, make: &Make, loops: u64, payload: &Bytes, calls: u64) {
    let each = calls.div_ceil(loops);
    let making: Vec<_> = (0..loops).map(|_| make()).collect();
    let payload = payload.clone();
    let work = clients.spawn(async move {
        let mut tasks = Vec::new();
        for making in making {
            let (mut calling, payload) = (making.await, payload.clone());
            tasks.push(tokio::spawn(async move {
                for _ in 0..each {
                    assert_eq!(calling.call(&payload).await, payload.len());
                }
            }));
        }
        for task in tasks {
            task.await.expect("a loop ends");
        }
    });
    clients.block_on(work).expect("the load ends");
}

pub fn measure(table: &mut Table) {
    let (servers, clients) = (one_thread(), one_thread());
    let raw = servers.block_on(floor::serve(false));
    let raw_tasks = servers.block_on(floor::serve(true));
    let (host, ours) = servers.block_on(serve(Arc::new(Echo)));
    let volo_at = servers.block_on(volo::serve());

    let pooled_floor = floor::pooled(raw);
    let mux_floor = floor::multiplexed(&clients, raw_tasks);
    let pooled = ours_over(&clients, ours, &[]);
    let multiplexed = ours_over(&clients, ours, &[("thrift.multiplex", "true")]);
    let offers = host.offers();
    let full: Vec<_> = offers[0].metadata.iter().collect();
    let as_offered = ours_over(&clients, ours, &full);
    let peer = volo::calling(&clients, volo_at);

    for (size, shown) in [(128, "128 B"), (16 * 1024, "16 KiB")] {
        let payload = Bytes::from(vec![b'x'; size]);
        for loops in [1, 64] {
            let mut row = |name: &str, goal, floor: &Make, ours: &Make| {
                let name = format!("{name}, {shown}, {loops} at a time");
                let run = |make, calls| load(&clients, make, loops, &payload, calls);
                table.rate(&name, goal, |calls| run(floor, calls), |calls| run(ours, calls));
            };
            row("thrift pooled / bare socket", 0.85, &pooled_floor, &pooled);
            let against_peer = if loops == 64 { 1.6 } else { 0.0 };
            row("thrift pooled / volo-thrift, framed", against_peer, &peer, &pooled);
            let (against_floor, against_pooled) = if loops == 64 { (0.5, 2.0) } else { (0.0, 0.0) };
            let against_pooled = if size == 128 { against_pooled } else { 0.0 };
            row(
                "thrift multiplexed / bare socket, a task and a deadline per call",
                against_floor,
                &mux_floor,
                &multiplexed,
            );
            row(
                "thrift multiplexed / bare socket pooled",
                against_pooled,
                &pooled_floor,
                &multiplexed,
            );
            row(
                "thrift as our host offers it (TTHeader) / bare socket, a task and a deadline per call",
                0.0,
                &mux_floor,
                &as_offered,
            );
        }
    }
}

/// Gives back the argument struct as the result struct.
#[derive(Debug)]
struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        Ok(Reply::new(call.payload))
    }
}

pub fn service() -> ServiceName {
    ServiceName::parse("EchoService").expect("a name")
}

async fn serve(handler: Arc<dyn Handler>) -> (ThriftHost, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = HostOptions::default();
    let host = ThriftHost::serve(service(), any, handler, options).await.expect("it binds");
    let address = host.local_addr().expect("it listens");
    (host, address)
}

struct Ours {
    caller: Arc<dyn Caller>,
    service: ServiceName,
    address: Address,
    facts: Metadata,
}

impl Calling for Ours {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let mut peer = Peer::at(&self.address);
            peer.metadata = Some(&self.facts);
            let call = Call::new(self.service.clone(), "echo", payload.clone())
                .with_timeout(Duration::from_secs(10));
            self.caller.call(peer, call).await.expect("an answer").payload.len()
        })
    }
}

fn ours_over(clients: &Runtime, at: SocketAddr, facts: &[(&str, &str)]) -> Make {
    let _entered = clients.enter();
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller: Arc<dyn Caller> =
        Arc::new(ThriftCaller::new(policy, CallerOptions::default()));
    let address = Address::parse(&format!("thrift://{at}")).expect("an address");
    let facts = Metadata::new(facts.iter().copied()).expect("facts");
    Box::new(move || {
        let (caller, address, facts) = (Arc::clone(&caller), address.clone(), facts.clone());
        Box::pin(async move {
            let service = service();
            Box::new(Ours { caller, service, address, facts }) as Box<dyn Calling>
        })
    })
}
