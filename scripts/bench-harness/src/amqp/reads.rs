//! A read at the trait: a barrier goes through the log first.

use portolan::*;
use tokio::runtime::Runtime;

use super::bare::Bare;
use super::loops;
use crate::rounds::Table;

pub fn measure(runtime: &Runtime, table: &mut Table, address: &str) {
    let bare = runtime.block_on(Bare::open(address, "bare-reads"));
    let url = format!("amqp://{address}/?prefix=reads");
    let registry = runtime.block_on(open(&url)).expect("it opens");
    let query = Query::all();
    for at_once in [1, 64] {
        let name = format!("amqp: resolve, {at_once} at a time / a bare message there and back");
        let floor = |operations| runtime.block_on(loops(operations, at_once, || bare.pass(100)));
        table.ratio(&name, 1.3, floor, |operations| {
            runtime.block_on(loops(operations, at_once, || async {
                registry.resolve(&query).await.expect("it reads");
            }));
        });
    }
}
