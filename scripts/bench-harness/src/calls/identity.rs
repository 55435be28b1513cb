//! What it costs that a call says who makes it, and that its host checks it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan::call::{Caller, Handler, Host, Subject};
use portolan::identity::{Authority, Signed, Verifier};
use portolan::thrift::{CallerOptions, ThriftCaller};
use portolan::{Address, AddressPolicy};
use tokio::runtime::Runtime;

use super::{Echo, Make, Ours, load, one_thread, serve, service};
use crate::rounds::Table;

pub fn measure(table: &mut Table) {
    let (servers, clients) = (one_thread(), one_thread());
    let authority = Authority::generate().expect("a key");
    let verifier = Arc::new(Verifier::trusting([authority.key()]));
    let open = calling(&servers, &clients, Arc::new(Echo), |caller| caller);
    let passport = authority.issue(&Subject::service("bench"), Duration::from_secs(86_400));
    let passport = Arc::new(passport.expect("a passport"));
    let sign = |caller| -> Arc<dyn Caller> { Arc::new(Signed::new(caller, Arc::clone(&passport))) };
    let guarded = calling(&servers, &clients, verifier.protect(Arc::new(Echo)), sign);
    let payload = Bytes::from(vec![b'x'; 128]);
    for loops in [1, 64] {
        let run = |make, calls| load(&clients, make, loops, &payload, calls);
        let name = format!("thrift, signed and checked / open, 128 B, {loops} at a time");
        table.rate(&name, 0.8, |calls| run(&open, calls), |calls| run(&guarded, calls));
    }
}

/// A way to call a host of its own with this handler.
fn calling(
    servers: &Runtime,
    clients: &Runtime,
    handler: Arc<dyn Handler>,
    sign: impl Fn(Arc<dyn Caller>) -> Arc<dyn Caller>,
) -> Make {
    let (host, at) = servers.block_on(serve(handler));
    let facts = host.offers()[0].metadata.clone();
    let _entered = clients.enter();
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller = sign(Arc::new(ThriftCaller::new(policy, CallerOptions::default())));
    let address = Address::parse(&format!("thrift://{at}")).expect("an address");
    let host = Arc::new(host);
    Box::new(move || {
        let (caller, address, facts) = (Arc::clone(&caller), address.clone(), facts.clone());
        let _host = Arc::clone(&host);
        Box::pin(async move {
            Box::new(Ours { caller, service: service(), address, facts }) as Box<dyn super::Calling>
        })
    })
}
