//! Ratios to floors, measured in the same run.
//!
//! A row alternates a floor and ours for at least nine rounds; its ratio is the
//! median of the per-round ratios, printed with the smallest and the largest.
//! A goal counts as met within 0.05. Lone times are not printed: they say
//! something about a machine, not about this project.

mod allocations;
mod beats;
mod picks;
#[allow(dead_code)] // Its other rows are other programs'.
mod rounds;
mod transcode;
mod watchers;

use rounds::Table;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let mut table = Table::new();
    let groups: [(&str, fn(&tokio::runtime::Runtime, &mut Table)); 4] = [
        ("pick", picks::measure),
        ("beat", beats::measure),
        ("watch", watchers::measure),
        ("json", |_, table| transcode::measure(table)),
    ];
    for (name, measure) in groups {
        if name.contains(&filter) {
            eprintln!("measuring: {name}");
            measure(&runtime, &mut table);
        }
    }
    table.print();
    std::process::exit(i32::from(!table.all_met()));
}
