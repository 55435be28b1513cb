//! What only databases do, done to every one of them: they are full, read-only,
//! crowded, of another version, written to by others.
#![allow(missing_docs)]

mod equal;
mod faults;
mod sql;

use std::process::ExitCode;
use std::sync::Arc;

use conformance_tests::own;
use faults::{Place, cases, child};

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os("PORTOLAN_TEST_CHILD") {
        return child::run(&role.to_string_lossy());
    }
    let places = Place::all();
    let mut trials = Vec::new();
    for place in &places {
        for (name, run) in cases() {
            let place = Arc::clone(place);
            let title = format!("{}/faults::{name}", place.name());
            trials.push(own::trial(title, async move || run(&place).await));
        }
    }
    // Each keeps servers busy; more at once would only test the machine.
    let conclusion = conformance_tests::run_trials(trials, Some(3));
    drop(places);
    conclusion.exit_code()
}
