//! H2 over RabbitMQ: requests and answers, against the same messages by a bare client;
//! and what pings of a thousand instances leave of them.

#[path = "../rounds.rs"]
#[allow(dead_code)] // Its other rows are other programs'.
mod rounds;

#[path = "../h2/mod.rs"]
mod h2;

use rounds::Table;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut table = Table::new();
    h2::measure(&runtime, &mut table);
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
