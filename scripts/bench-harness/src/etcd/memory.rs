//! What a process holds for each instance that it watches.

use portolan::*;
use tokio::runtime::Runtime;

use super::spec;
use crate::allocations;
use crate::rounds::Table;

const INSTANCES: u64 = 10_000;

pub fn measure(runtime: &Runtime, table: &mut Table, server: &str) {
    let held = runtime.block_on(async {
        let url = format!("etcd://{server}");
        let writer = open(&url).await.expect("it opens");
        let specs: Vec<_> = (0..INSTANCES).map(spec).collect();
        for lease in writer.connect(&specs).await.expect("they connect") {
            lease.expect("it connects");
        }
        drop((writer, specs));
        let registry = open(&url).await.expect("it opens");
        let before = allocations::held();
        let mut watch = registry.watch(&Scope::All, WatchFrom::Now).await.expect("it watches");
        drop(watch.next().await); // The Reset is the reader's.
        allocations::held() - before
    });
    let name = "etcd: bytes a watched instance, of 10,000 with one offer each";
    table.figure(name, held as f64 / INSTANCES as f64, 4_096.0);
}
