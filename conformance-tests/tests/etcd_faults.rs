//! What only etcd does, and what is done to it: foreign layouts, compaction, a full
//! disk, a restored snapshot, lost leases, rights, certificates.
#![allow(missing_docs)]

mod certificates;
mod equal;
mod etcd;
mod etcd_own;

use std::process::ExitCode;
use std::sync::Arc;

use conformance_tests::own;
use etcd_own::{Place, cases};

fn main() -> ExitCode {
    let place = Arc::new(Place::default());
    let trial = |(name, run): (&'static str, etcd_own::Case)| {
        let place = Arc::clone(&place);
        own::trial(format!("etcd/faults::{name}"), async move || run(&place).await)
    };
    let trials = cases().into_iter().map(trial).collect();
    // Most of them wait.
    let conclusion = conformance_tests::run_trials(trials, Some(6));
    drop(place);
    conclusion.exit_code()
}
