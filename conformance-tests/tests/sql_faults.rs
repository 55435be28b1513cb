//! What only databases do, done to every one of them: they are full, read-only,
//! crowded, of another version, written to by others.
#![allow(missing_docs)]

mod faults;
mod sql;

use std::process::ExitCode;
use std::sync::Arc;

use faults::{Place, cases, child};
use libtest_mimic::{Completion, Failed, Trial};

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
            trials.push(Trial::ignorable_test(title, move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
                let limit = std::time::Duration::from_secs(180);
                let done =
                    runtime.block_on(async { tokio::time::timeout(limit, run(&place)).await });
                conclude(done.map_err(|_| Failed::from("it did not end in time"))?)
            }));
        }
    }
    // Each keeps servers busy; more at once would only test the machine.
    let conclusion = conformance_tests::run_trials(trials, Some(3));
    drop(places);
    conclusion.exit_code()
}

/// What is absent is a failure where everything was promised to be there; what
/// needs root is not promised.
fn conclude(done: Result<(), faults::Outcome>) -> Result<Completion, Failed> {
    let required = std::env::var("PORTOLAN_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|name| name == "all");
    match done {
        Ok(()) => Ok(Completion::Completed),
        Err(faults::Outcome::Broken(reason)) => Err(reason.into()),
        Err(faults::Outcome::Absent(reason)) if required => {
            Err(format!("absent, and PORTOLAN_REQUIRE asks for it: {reason}").into())
        }
        Err(faults::Outcome::Absent(reason)) => {
            Ok(Completion::ignored_with(format!("absent: {reason}")))
        }
        Err(faults::Outcome::Root) => Ok(Completion::ignored_with("root")),
        Err(faults::Outcome::NotClaimed) => Ok(Completion::ignored_with("not claimed")),
    }
}
