//! Calls and the gateway, in a process without the counting allocator: its one
//! counter would be a lock between the two threads.

#[path = "../calls/mod.rs"]
mod calls;
#[path = "../gateway/mod.rs"]
mod gateway;
#[path = "../reverse/mod.rs"]
mod reverse;
#[allow(dead_code)] // The other binary uses the rest.
#[path = "../rounds.rs"]
mod rounds;

use rounds::Table;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut table = Table::new();
    if filter == "hold" {
        return reverse::hold(&std::env::args().nth(2).unwrap_or_default());
    }
    let groups: [(&str, fn(&mut Table)); 5] = [
        ("calls", calls::measure),
        ("http", calls::http::measure),
        ("identity", calls::identity::measure),
        ("gateway", gateway::measure),
        ("reverse", reverse::measure),
    ];
    for (name, measure) in groups {
        if name.contains(&filter) {
            eprintln!("measuring: {name}");
            measure(&mut table);
        }
    }
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
