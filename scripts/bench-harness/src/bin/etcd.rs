//! etcd: connects and news through a handle, against the same requests by a bare
//! client on the same server; and what a watched instance costs.

#[path = "../allocations.rs"]
#[allow(dead_code)] // Its counts are another program's.
mod allocations;

#[path = "../rounds.rs"]
#[allow(dead_code)] // Its other rows are other programs'.
mod rounds;

#[path = "../etcd/mod.rs"]
mod etcd;

use rounds::Table;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut table = Table::new();
    etcd::measure(&runtime, &mut table);
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
