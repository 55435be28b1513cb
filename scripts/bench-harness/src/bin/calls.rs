//! Calls and the gateway, in a process without the counting allocator: its one
//! counter would be a lock between the two threads.

#[path = "../calls/mod.rs"]
mod calls;
#[path = "../gateway/mod.rs"]
mod gateway;
#[allow(dead_code)] // The other binary uses the rest.
#[path = "../rounds.rs"]
mod rounds;

use rounds::Table;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut table = Table::new();
    let groups: [(&str, fn(&mut Table)); 2] =
        [("calls", calls::measure), ("gateway", gateway::measure)];
    for (name, measure) in groups {
        if name.contains(&filter) {
            eprintln!("measuring: {name}");
            measure(&mut table);
        }
    }
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
