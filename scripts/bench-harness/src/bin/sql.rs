//! Databases: beats, connects and news through a handle, against the same work
//! in bare statements on the same server.

#[path = "../rounds.rs"]
#[allow(dead_code)] // Its other rows are other programs'.
mod rounds;

#[path = "../sql/mod.rs"]
mod sql;

use rounds::Table;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut table = Table::new();
    sql::measure(&runtime, &mut table);
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
