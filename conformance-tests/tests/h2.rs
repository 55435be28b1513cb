//! H2's hosts on real brokers, called by a program that knows nothing of Portolan:
//! who gets a request, how often it is run, and what hostile messages do.
#![allow(missing_docs)]

mod h2_own;

use std::process::ExitCode;
use std::sync::Arc;

use conformance_tests::own;
use h2_own::{Place, cases};

fn main() -> ExitCode {
    let place = Arc::new(Place::default());
    let trial = |(name, run): (&'static str, h2_own::Case)| {
        let place = Arc::clone(&place);
        own::trial(format!("h2/own::{name}"), async move || run(&place).await)
    };
    let trials = cases().into_iter().map(trial).collect();
    let conclusion = conformance_tests::run_trials(trials, Some(4));
    drop(place);
    conclusion.exit_code()
}
