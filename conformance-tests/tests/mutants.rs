//! Every planted defect must be caught by the clause it breaks.
#![allow(missing_docs)]

mod memory;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use conformance_tests::mutants::{self, Mutant};
use conformance_tests::{Outcome, cases, run_case, run_trials};
use libtest_mimic::Trial;

/// The floor the specification sets.
const FLOOR: usize = 24;

fn main() -> ExitCode {
    let planted = mutants::all();
    assert!(planted.len() >= FLOOR, "there are fewer than {FLOOR} mutants");
    let caught = Arc::new(Mutex::new(Vec::new()));
    let trials = planted.iter().map(|mutant| {
        let (mutant, caught) = (*mutant, Arc::clone(&caught));
        let name = format!("mutant::{}", mutant.name.replace([' ', '-'], "_"));
        Trial::test(name, move || hunt(mutant, &caught).map_err(Into::into))
            .with_kind(mutant.clause)
    });
    let conclusion = run_trials(trials.collect(), None);
    let caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
    if !caught.is_empty() {
        let hunted = conclusion.num_passed + conclusion.num_failed;
        println!("mutants: {} of {hunted} caught, each by its clause", caught.len());
        println!("clauses no mutant proves: {}", unproved(&planted).join(" "));
        write_report(&planted, &caught);
    }
    conclusion.exit_code()
}

fn hunt(mutant: Mutant, caught: &Mutex<Vec<&'static str>>) -> Result<(), String> {
    let target = memory::target().with_mutant(mutant);
    let about = cases::all().into_iter().filter(|case| case.clause == mutant.clause);
    let fails = |case| matches!(run_case(&target, &case), Outcome::Fail(_));
    if !about.into_iter().any(fails) {
        return Err(format!("not caught by {}", mutant.clause));
    }
    caught.lock().unwrap_or_else(PoisonError::into_inner).push(mutant.name);
    Ok(())
}

/// Clauses whose cases were never seen to fail: listed, not hidden.
fn unproved(planted: &[Mutant]) -> Vec<&'static str> {
    let proved: BTreeSet<_> = planted.iter().map(|mutant| mutant.clause).collect();
    let cases = cases::all();
    let all: BTreeSet<_> = cases.iter().map(|case| case.clause).collect();
    all.difference(&proved).copied().collect()
}

/// Beside the report of the suite, where one is asked for.
fn write_report(planted: &[Mutant], caught: &[&str]) {
    let Some(directory) = std::env::var_os("PORTOLAN_REPORT") else { return };
    let directory = Path::new(&directory);
    let mut text = String::from("# Mutants\n\n| defect | clause | caught |\n|---|---|---|\n");
    for mutant in planted {
        let word = if caught.contains(&mutant.name) { "yes" } else { "NO" };
        text.push_str(&format!("| {} | {} | {word} |\n", mutant.name, mutant.clause));
    }
    text.push_str(&format!("\nClauses no mutant proves: {}.\n", unproved(planted).join(", ")));
    std::fs::create_dir_all(directory).expect("the report's directory can be made");
    std::fs::write(directory.join("mutants.md"), text).expect("the report can be written");
}
