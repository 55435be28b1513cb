//! Picks through the client handle: the same local read as on memory.

use std::hint::black_box;

use portolan::*;
use tokio::runtime::Runtime;

use crate::rounds::Table;

const INSTANCES: usize = 100;

pub fn measure(runtime: &Runtime, table: &mut Table, address: &str) {
    let followed = |url: &str| runtime.block_on(followed(url));
    let memory = followed("memory:");
    let amqp = followed(&format!("amqp://{address}/?prefix=picks"));
    table.ratio(
        "amqp: pick through the client handle, 100 instances / on memory",
        1.0,
        |operations| picks(&memory.1, operations),
        |operations| picks(&amqp.1, operations),
    );
}

/// A service with some instances, and a view of it.
async fn followed(url: &str) -> (Client, ServiceView) {
    let client = Client::open(url).await.expect("it opens");
    let service = ServiceName::parse("s").expect("a literal");
    let terms = LeaseTerms::new(LeaseTerms::MAX, LeaseTerms::MAX).expect("ordered");
    let spec = |n: usize| {
        let address = Address::host("thrift", &format!("10.0.0.{n}"), 8080).expect("an address");
        let id = InstanceId::parse(&format!("i{n}")).expect("an id");
        InstanceSpec::new(id, [Offer::new(service.clone(), address)]).with_terms(terms)
    };
    let specs: Vec<_> = (0..INSTANCES).map(spec).collect();
    client.registry().connect(&specs).await.expect("they connect");
    let view = client.follow(&service);
    view.reached(|followed| followed.instances.len() == INSTANCES).await;
    (client, view)
}

fn picks(view: &ServiceView, operations: u64) {
    for _ in 0..operations {
        black_box(view.pick().map(|picked| picked.health));
    }
}
