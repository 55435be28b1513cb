//! RabbitMQ: writes and reads through a handle, against the same messages by a
//! bare client on the same broker; and picks, against those on memory.

#[path = "../rounds.rs"]
#[allow(dead_code)] // Its other rows are other programs'.
mod rounds;

#[path = "../amqp/mod.rs"]
mod amqp;

use rounds::Table;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut table = Table::new();
    amqp::measure(&runtime, &mut table);
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
