//! 10,000 instances connect, each by a call of its own.

use futures_util::future::try_join_all;
use portolan::*;
use tokio::runtime::Runtime;

use super::floor::Floor;
use super::{Place, open, spec};
use crate::rounds::Table;

const INSTANCES: usize = 10_000;

pub fn measure(runtime: &Runtime, table: &mut Table, place: &Place) {
    let (commits, resolved) = runtime.block_on(async {
        let mut floor = Floor::open(place, &[]).await;
        let registry = open(place).await;
        let before = floor.commits().await;
        let connect = |n: usize| {
            let registry = &registry;
            async move { registry.connect_one(spec(&format!("connect-{n}"), 1)).await }
        };
        try_join_all((0..INSTANCES).map(connect)).await.expect("they connect");
        let commits = floor.commits().await.zip(before).map(|(after, before)| after - before);

        // What a caller asks of its handle costs the database nothing.
        let client = Client::new(registry, ClientOptions::default());
        let service = ServiceName::parse("s").expect("a literal");
        client.follow(&service).ready().await.expect("it is known");
        let before = floor.commits().await;
        let idle = floor.commits().await.zip(before).map(|(after, before)| after - before);
        let before = floor.commits().await;
        for _ in 0..100_000 {
            client.resolve(&service).await.expect("it is known");
        }
        let busy = floor.commits().await.zip(before).map(|(after, before)| after - before);
        (commits, busy.zip(idle).map(|(busy, idle)| busy - idle))
    });
    if let Some(commits) = commits {
        let name = format!("{}: commits for 10,000 connects, one a call", place.name);
        table.figure(&name, commits as f64, INSTANCES as f64 / 50.0);
    }
    if let Some(resolved) = resolved {
        // The poll goes on meanwhile, a little more often or less.
        let name = format!("{}: more commits by 100,000 resolves of a client", place.name);
        table.figure(&name, resolved as f64, 100.0);
    }
}
