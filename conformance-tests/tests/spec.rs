//! The specification and the suite say the same.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use conformance_tests::{calls, cases, mutants};

fn spec() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SPEC.md");
    std::fs::read_to_string(path).unwrap()
}

/// The clauses: lines that begin `- **R1** `.
fn clauses(spec: &str) -> Vec<&str> {
    let clause = |line: &'_ str| -> Option<(usize, usize)> {
        let rest = line.strip_prefix("- **")?;
        Some((4, 4 + rest.find("**")?))
    };
    spec.lines().filter_map(|line| clause(line).map(|(start, end)| &line[start..end])).collect()
}

#[test]
fn every_clause_has_a_case_and_every_case_a_clause() {
    let spec = spec();
    let written: BTreeSet<_> = clauses(&spec).into_iter().collect();
    assert_eq!(written.len(), clauses(&spec).len(), "a number is used twice");
    let cases = cases::all();
    let about_calls = calls::all();
    let proved = cases.iter().map(|case| case.clause);
    let proved: BTreeSet<_> = proved.chain(about_calls.iter().map(|case| case.clause)).collect();
    assert_eq!(written, proved, "clauses in docs/SPEC.md, and clauses of the cases");
    assert!(cases.len() >= 45, "there are {} cases", cases.len());
}

#[test]
fn a_gate_in_the_specification_is_the_gate_of_its_cases() {
    let spec = spec();
    for case in cases::all() {
        let line = spec.lines().find(|line| line.starts_with(&format!("- **{}** ", case.clause)));
        let gate = case.needs.map_or_else(|| "core".to_owned(), |needs| needs.to_string());
        let line = line.unwrap();
        let gated = line.contains(&format!("** [{gate}] "))
            || line.contains("** [keys] ")
            || line.contains("** [client] ");
        assert!(gated, "{} of {} is gated by {gate}", case.path(), case.clause);
    }
    for case in calls::all() {
        let line = format!("- **{}** [calls] ", case.clause);
        assert!(spec.lines().any(|found| found.starts_with(&line)), "{}", case.path());
    }
}

#[test]
fn names_are_used_once() {
    let cases = cases::all();
    let about_calls = calls::all();
    let names: BTreeSet<_> = cases.iter().map(|case| case.path()).collect();
    assert_eq!(names.len(), cases.len());
    let names: BTreeSet<_> = about_calls.iter().map(|case| case.path()).collect();
    assert_eq!(names.len(), about_calls.len());
}

#[test]
fn every_mutant_breaks_a_written_clause() {
    let spec = spec();
    let written = clauses(&spec);
    let mutants = mutants::all();
    assert_eq!(mutants.len(), 25);
    for mutant in mutants {
        assert!(written.contains(&mutant.clause), "{}", mutant.name);
    }
}

#[test]
fn every_kind_of_error_is_in_the_specification() {
    let spec = spec();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-api/src/error.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let start = source.find("pub enum ErrorKind {").unwrap();
    let end = start + source[start..].find("\n}").unwrap();
    let variants = source[start..end].lines().filter_map(|line| line.trim().strip_suffix(','));
    let variants: Vec<_> = variants.filter(|v| v.chars().all(char::is_alphanumeric)).collect();
    assert!(variants.len() >= 13, "{variants:?}");
    for variant in variants {
        assert!(spec.contains(&format!("| `{variant}` |")), "{variant} is not in docs/SPEC.md");
    }
}
