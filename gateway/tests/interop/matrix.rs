//! Cells, run as tests and shown as a table.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What came of a cell, by peer and by how it speaks.
type Results = Arc<Mutex<BTreeMap<(&'static str, &'static str), &'static str>>>;

/// All cells.
#[derive(Default)]
pub(crate) struct Matrix {
    trials: Vec<Trial>,
    results: Results,
}

impl Matrix {
    /// A cell: what `built` gives is what `job` works with. An error of `built`
    /// means that the peer cannot be had here.
    pub(crate) fn cell<P: 'static>(
        &mut self,
        peer: &'static str,
        manner: &'static str,
        built: impl Fn() -> Result<P, String> + Send + 'static,
        job: impl Fn(&P) + Send + 'static,
    ) {
        let results = Arc::clone(&self.results);
        let note = move |result| {
            results.lock().unwrap().insert((peer, manner), result);
        };
        let name = format!("{}::{manner}", peer.replace(' ', "_"));
        self.trials.push(Trial::ignorable_test(name, move || match built() {
            Ok(peer) => {
                note("fail"); // Until it has passed.
                job(&peer);
                note("pass");
                Ok(Completion::Completed)
            }
            Err(reason) => {
                note("absent");
                absent(peer, &reason)
            }
        }));
    }

    pub(crate) fn run(self) -> ExitCode {
        let conclusion = libtest_mimic::run(&Arguments::from_args(), self.trials);
        let results = self.results.lock().unwrap();
        let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((peer, manner), result) in results.iter() {
            rows.entry(peer).or_default().push(format!("{manner} {result}"));
        }
        for (peer, cells) in rows {
            println!("interop {peer}: {}", cells.join(", "));
        }
        conclusion.exit_code()
    }
}

/// A cell whose peer cannot be built here: never a pass.
fn absent(peer: &str, reason: &str) -> Result<Completion, Failed> {
    let required = std::env::var("PORTOLAN_REQUIRE").unwrap_or_default();
    let family = peer.split(' ').next().unwrap_or_default();
    let names = |wanted: &str| required.split(',').any(|name| name == wanted);
    let exempt = names(&format!("-{family}"));
    match !exempt && (names("all") || names(family)) {
        true => Err(format!("absent, and PORTOLAN_REQUIRE asks for it: {reason}").into()),
        false => Ok(Completion::ignored_with(format!("absent: {reason}"))),
    }
}
