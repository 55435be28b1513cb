//! What a run found: as lines, as JSON, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::case::Outcome;

/// The outcome of one case on one target.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The target.
    pub target: String,
    /// The clause of the specification.
    pub clause: &'static str,
    /// `group::name` of the case.
    pub case: String,
    /// `pass`, `fail`, `refused`, `not claimed`, `absent` or `known gap`.
    pub result: &'static str,
    /// Why, where there is something to say.
    pub reason: Option<String>,
}

impl Record {
    /// The record of an outcome.
    pub fn new(target: &str, clause: &'static str, case: &str, outcome: &Outcome) -> Self {
        Self {
            target: target.to_owned(),
            clause,
            case: case.to_owned(),
            result: outcome.as_str(),
            reason: outcome.reason().map(str::to_owned),
        }
    }
}

/// All records of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order they finished.
    pub records: Vec<Record>,
}

impl Report {
    /// One line per target: how many cases had which result.
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for record in &self.records {
            let results = counts.entry(&record.target).or_default();
            *results.entry(record.result).or_default() += 1;
        }
        let mut lines = String::new();
        for (target, results) in counts {
            let total: usize = results.values().sum();
            let parts: Vec<_> = results.iter().map(|(result, n)| format!("{n} {result}")).collect();
            let _ = writeln!(lines, "conformance {target}: {total} cases: {}", parts.join(", "));
        }
        lines
    }

    /// A table: a row per case, a column per target.
    pub fn markdown(&self) -> String {
        let targets: BTreeSet<_> = self.records.iter().map(|r| r.target.as_str()).collect();
        let mut rows: BTreeMap<(&str, &str), BTreeMap<&str, &Record>> = BTreeMap::new();
        for record in &self.records {
            let row = rows.entry((record.clause, &record.case)).or_default();
            row.insert(&record.target, record);
        }
        let mut text = String::from("# Conformance\n\n");
        for line in self.summary().lines() {
            let _ = writeln!(text, "- {line}");
        }
        let head: Vec<_> = targets.iter().copied().collect();
        let _ = writeln!(text, "\n| clause | case | {} |", head.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(targets.len()));
        for ((clause, case), row) in rows {
            let cells: Vec<_> =
                targets.iter().map(|t| row.get(t).map_or("", |r| r.result)).collect();
            let _ = writeln!(text, "| {clause} | `{case}` | {} |", cells.join(" | "));
        }
        text
    }

    /// Writes `conformance.json` and `conformance.md` into a directory.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(directory.join("conformance.json"), json)?;
        std::fs::write(directory.join("conformance.md"), self.markdown())
    }
}

/// What is known not to hold, from a file that says why.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaps {
    /// The entries.
    #[serde(default)]
    gap: Vec<Gap>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    target: String,
    case: String,
    reason: String,
}

impl Gaps {
    /// Reads the TOML text of a gaps file.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Why `case` is known to fail on `target`.
    pub fn reason(&self, target: &str, case: &str) -> Option<&str> {
        let listed = |gap: &&Gap| gap.target == target && gap.case == case;
        Some(&self.gap.iter().find(listed)?.reason)
    }

    /// Entries that name no case of any of these targets: the file is stale.
    pub fn stale(&self, exists: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let stale = self.gap.iter().filter(|gap| !exists(&gap.target, &gap.case));
        stale.map(|gap| format!("{} {}", gap.target, gap.case)).collect()
    }

    /// An outcome in the light of what is known: a gap that passes is a failure.
    pub fn judge(&self, target: &str, case: &str, outcome: Outcome) -> Outcome {
        match (self.reason(target, case), outcome) {
            (Some(reason), Outcome::Fail(_) | Outcome::Absent(_)) => {
                Outcome::KnownGap(reason.to_owned())
            }
            (Some(_), Outcome::Pass) => {
                Outcome::Fail("listed as a known gap, and it passes: take it off the list".into())
            }
            (_, outcome) => outcome,
        }
    }
}
