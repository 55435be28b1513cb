//! What callers see when something breaks, on every wire: ten instances, 500 calls a second
//! through the client handle with every policy at its default, and one fault at a time.
//!
//! ```console
//! $ cargo run --release -p portolan-conformance-tests --example fault_figures [WIRE…]
//! ```
//!
//! Figures, no judgement: what must hold is tested elsewhere.

#[allow(warnings, clippy::all)]
#[rustfmt::skip]
#[path = "../../../examples/greeter/greeter.rs"]
mod greeter;

mod faults;
mod instance;
mod load;
mod reverse;
mod wires;

use faults::ALL;
use wires::Wire;

#[tokio::main]
async fn main() {
    let wanted: Vec<_> = std::env::args().skip(1).collect();
    let meant = |wire: &Wire| wanted.is_empty() || wanted.iter().any(|name| name == wire.name());
    println!(
        "{:<14} {:<12} {:>6} {:>6} {:>9} {:>9} {:>9} {:>10}",
        "wire", "fault", "calls", "failed", "attempts", "p50 ms", "p99 ms", "failing ms"
    );
    for wire in Wire::all().into_iter().filter(meant) {
        for fault in ALL {
            match faults::run(&wire, fault).await {
                Ok(figures) => println!("{:<14} {:<12} {figures}", wire.name(), fault.name()),
                Err(reason) => {
                    println!("{:<14} {:<12} absent: {reason}", wire.name(), fault.name());
                    break;
                }
            }
        }
    }
    println!(
        "\nattempts: for each call; failing: from the fault to the last call that failed.\n\
         killed: its connections end, and the registry does not learn of it\n\
         frozen: it takes calls and answers none; slow: it takes 200 ms, the others 1\n\
         restarts: all ten stop and start, one after the other; registry: it fails for all"
    );
}
