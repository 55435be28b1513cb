//! Instances that join: the same leases, transactions and bytes, with and without
//! a registry around them.

use std::sync::atomic::{AtomicU64, Ordering};

use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use futures_util::future::try_join_all;
use portolan::*;
use tokio::runtime::Runtime;

use super::{id, spec};
use crate::rounds::Table;

/// Instances of one transaction: three puts each, and one for all, of 128.
const TOGETHER: usize = 42;
/// Grants under way at the same time, for each transaction.
const AT_ONCE: usize = 32;

pub fn measure(runtime: &Runtime, table: &mut Table, server: &str) {
    let bare = runtime.block_on(Client::connect([server], None)).expect("it connects");
    let registry = runtime.block_on(open(&format!("etcd://{server}"))).expect("it opens");
    let next = AtomicU64::new(0);
    let some = |count: u64| next.fetch_add(count, Ordering::Relaxed);
    let floor = |count: u64| {
        let first = some(count);
        let numbers: Vec<u64> = (first..first + count).collect();
        let parts = numbers.chunks(TOGETHER).map(|part| join(bare.clone(), part));
        runtime.block_on(try_join_all(parts)).expect("they join");
    };
    let ours = |count: u64| {
        let first = some(count);
        let specs: Vec<_> = (first..first + count).map(spec).collect();
        for lease in runtime.block_on(registry.connect(&specs)).expect("they connect") {
            lease.expect("it connects");
        }
    };
    let name = "etcd: connect / bare grants, reads and transactions, as many";
    table.rate(name, 0.9, floor, ours);
}

/// What a registry asks etcd for when these join.
async fn join(mut client: Client, part: &[u64]) -> Result<(), etcd_client::Error> {
    let keys: Vec<_> = part.iter().map(|n| format!("bare/default/ids/{}", id(*n))).collect();
    let gets: Vec<_> = keys.iter().map(|key| TxnOp::get(&**key, None)).collect();
    client.txn(Txn::new().and_then(gets)).await?;
    let mut leases = Vec::new();
    let seconds: Vec<i64> = part.iter().flat_map(|_| [3_600, 1_800]).collect();
    for some in seconds.chunks(AT_ONCE) {
        let grants =
            some.iter().map(|seconds| {
                let mut client = client.clone();
                async move {
                    Ok::<_, etcd_client::Error>(client.lease_grant(*seconds, None).await?.id())
                }
            });
        leases.extend(try_join_all(grants).await?);
    }
    let absent: Vec<_> =
        keys.iter().map(|key| Compare::mod_revision(&**key, CompareOp::Equal, 0)).collect();
    let mut puts = Vec::new();
    for (n, pair) in part.iter().zip(leases.chunks(2)) {
        let on = |lease| Some(PutOptions::new().with_lease(lease));
        let (n, [presence, alive]) = (id(*n), [pair[0], pair[1]]);
        puts.push(TxnOp::put(format!("bare/default/ids/{n}"), "x".repeat(110), on(presence)));
        puts.push(TxnOp::put(
            format!("bare/default/instances/s/{n}"),
            "x".repeat(140),
            on(presence),
        ));
        puts.push(TxnOp::put(format!("bare/default/alive/{n}"), "", on(alive)));
    }
    puts.push(TxnOp::put("bare/default/commit", "x".repeat(12), None));
    client.txn(Txn::new().when(absent).and_then(puts)).await.map(drop)
}
