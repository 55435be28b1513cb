//! Every row runs on a private server.

mod connects;
mod memory;
mod news;

use conformance_tests::servers::{Recipe, etcd};
use portolan::*;
use tokio::runtime::Runtime;

use crate::rounds::Table;

pub fn measure(runtime: &Runtime, table: &mut Table) {
    for group in [connects::measure, news::measure, memory::measure] {
        // Leases and history of one would slow the next.
        let server = etcd(&Recipe::default()).unwrap_or_else(|absent| panic!("etcd: {absent:?}"));
        group(runtime, table, &server.address().to_string());
    }
}

/// A UUID, as most ids are.
pub fn id(n: u64) -> String {
    format!("3f2b8c1e-{:04x}-4d6a-9c1b-{:012x}", n % 65_536, n * 7919)
}

/// An instance with two leases that last.
pub fn spec(n: u64) -> InstanceSpec {
    let minutes = |n: u64| std::time::Duration::from_secs(n * 60);
    let terms = LeaseTerms::new(minutes(30), minutes(60)).expect("ordered");
    let service = ServiceName::parse("s").expect("a literal");
    let address = Address::parse("thrift://10.0.0.1:80").expect("a literal");
    let id = InstanceId::parse(&id(n)).expect("an id");
    InstanceSpec::new(id, [Offer::new(service, address)]).with_epoch(Epoch(1)).with_terms(terms)
}
