//! Every row runs on a private server, or on a file.

mod beats;
mod connects;
mod floor;
mod news;

use std::sync::Arc;

use conformance_tests::servers::{Recipe, Server, mariadb, postgres};
use portolan::*;
use tokio::runtime::Runtime;

use crate::rounds::Table;

/// One database to measure.
pub struct Place {
    pub name: &'static str,
    pub url: String,
    _server: Option<Server>,
}

pub fn measure(runtime: &Runtime, table: &mut Table) {
    let file = std::env::temp_dir().join(format!("portolan-bench-{}.db", std::process::id()));
    let places = [
        Place { name: "sqlite", url: format!("sqlite:{}", file.display()), _server: None },
        server("postgres", postgres(&Recipe::default()), "postgres://postgres@", "/postgres"),
        server("mariadb", mariadb(&Recipe::default()), "mysql://root@", "/mysql"),
    ];
    // One of them, if one is named.
    let only = std::env::args().nth(1).unwrap_or_default();
    for place in places.iter().filter(|place| place.name.contains(&only)) {
        eprintln!("measuring: {}", place.name);
        beats::measure(runtime, table, place);
        connects::measure(runtime, table, place);
    }
    if "news".contains(&only) {
        eprintln!("measuring: news");
        news::measure(runtime, table, &places[1]);
    }
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}

fn server(
    name: &'static str,
    started: Result<Server, conformance_tests::Absent>,
    before: &str,
    after: &str,
) -> Place {
    let server = started.unwrap_or_else(|absent| panic!("{name}: {absent:?}"));
    Place { name, url: format!("{before}{}{after}", server.address()), _server: Some(server) }
}

/// A handle on the place.
pub async fn open(place: &Place) -> Arc<dyn Registry> {
    portolan::open(&place.url).await.unwrap_or_else(|error| panic!("{}: {error}", place.name))
}

/// An instance whose lease lasts.
pub fn spec(id: &str, weight: u32) -> InstanceSpec {
    let terms = LeaseTerms::new(LeaseTerms::MAX, LeaseTerms::MAX).expect("ordered");
    let service = ServiceName::parse("s").expect("a literal");
    let address = Address::parse("thrift://10.0.0.1:80").expect("a literal");
    let offer = Offer::new(service, address).with_weight(weight);
    let id = InstanceId::parse(id).expect("an id");
    InstanceSpec::new(id, [offer]).with_epoch(Epoch(1)).with_terms(terms)
}

/// A UUID, as most ids are.
pub fn id(n: usize) -> String {
    format!("3f2b8c1e-{:04x}-4d6a-9c1b-{:012x}", n % 65_536, n * 7919)
}
