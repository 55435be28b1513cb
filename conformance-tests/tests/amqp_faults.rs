//! What only RabbitMQ does, and what is done to it: logs that are founded, replayed,
//! cut and deleted, processes that are cut off, alarms, rights, certificates.
#![allow(missing_docs)]

mod amqp;
mod amqp_own;
mod certificates;
mod equal;

use std::process::ExitCode;
use std::sync::Arc;

use amqp_own::{Place, cases};
use conformance_tests::own;

fn main() -> ExitCode {
    let place = Arc::new(Place::default());
    let trial = |(name, run): (&'static str, amqp_own::Case)| {
        let place = Arc::clone(&place);
        own::trial(format!("amqp/faults::{name}"), async move || run(&place).await)
    };
    let trials = cases().into_iter().map(trial).collect();
    // Most of them wait.
    let conclusion = conformance_tests::run_trials(trials, Some(6));
    drop(place);
    conclusion.exit_code()
}
