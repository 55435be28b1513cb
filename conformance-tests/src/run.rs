//! Runs the list against targets, one runtime and one world per case.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};

use crate::calls::{self, Wire};
use crate::case::{Case, Outcome};
use crate::cases;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::report::{Gaps, Record, Report};
use crate::target::{Absent, Target};

/// A case that takes longer hangs. What it runs against has limits of its own.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs one case in a world of its own.
pub fn run_case(target: &dyn Target, case: &Case) -> Outcome {
    let claimed = case.needs.is_none_or(|needs| target.info().capabilities.has(needs));
    let gates_a_call = case.needs.is_some_and(|needs| needs.gates_a_call());
    if !claimed && !gates_a_call {
        return Outcome::NotClaimed;
    }
    let outcome = in_a_runtime(async {
        let world = match case.alone {
            true => target.open_alone().await,
            false => target.open().await,
        };
        let world = world.map_err(|Absent(reason)| Failure::Absent(reason))?;
        limited(async {
            let cx = Ctx::open(world).await?;
            match claimed {
                true => (case.run)(&cx).await,
                false => cases::refusal(&cx).await,
            }
        })
        .await
    });
    match outcome {
        Outcome::Pass if !claimed => Outcome::Refused,
        outcome => outcome,
    }
}

/// Runs a case to its end, on a runtime that ends with it.
pub(crate) fn in_a_runtime(run: impl Future<Output = Result<(), Failure>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Absent(format!("no runtime: {error}")),
    };
    match runtime.block_on(run) {
        Ok(()) => Outcome::Pass,
        Err(Failure::Absent(reason)) => Outcome::Absent(reason),
        Err(Failure::Broken(reason)) => Outcome::Fail(reason),
        Err(Failure::NotClaimed) => Outcome::NotClaimed,
    }
}

/// A case, as long as it may take.
pub(crate) async fn limited(
    case: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let ended = tokio::time::timeout(LIMIT, case).await;
    ended.unwrap_or_else(|_| Err(Failure::new(format!("did not end within {LIMIT:?}"))))
}

/// The whole suite as a test binary (`harness = false`).
///
/// Understands the arguments of `cargo test`, several name filters included.
/// `PORTOLAN_REQUIRE` (a list of target names, or `all`, without those written
/// `-name`) turns what is absent into failures; `PORTOLAN_REPORT` names a directory for the reports.
pub fn main(targets: &[Arc<dyn Target>], gaps: &str) -> ExitCode {
    main_with_wires(targets, &[], gaps)
}

/// [`main`], and the transport suite over every wire.
pub fn main_with_wires(
    targets: &[Arc<dyn Target>],
    wires: &[Arc<dyn Wire>],
    gaps: &str,
) -> ExitCode {
    let gaps = match Gaps::parse(gaps) {
        Ok(gaps) => Arc::new(gaps),
        Err(error) => {
            eprintln!("the gaps file cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut jobs = Vec::new();
    for target in targets {
        for case in cases::all() {
            let run = Arc::clone(target);
            let run = Box::new(move || run_case(&*run, &case));
            jobs.push(Job {
                target: target.name().to_owned(),
                clause: case.clause,
                case: case.path(),
                run,
            });
        }
    }
    for wire in wires {
        for case in calls::all() {
            let run = Arc::clone(wire);
            let run = Box::new(move || calls::run_call_case(&*run, &case));
            jobs.push(Job {
                target: wire.name().to_owned(),
                clause: case.clause,
                case: case.path(),
                run,
            });
        }
    }
    let stale =
        gaps.stale(|target, case| jobs.iter().any(|j| j.target == target && j.case == case));
    if !stale.is_empty() {
        eprintln!("the gaps file names what does not exist: {}", stale.join(", "));
        return ExitCode::FAILURE;
    }
    let report = Arc::new(Mutex::new(Report::default()));
    let trials = jobs.into_iter().map(|job| job.trial(&gaps, &report));
    let conclusion = run_trials(trials.collect(), threads());
    let report = report.lock().unwrap_or_else(PoisonError::into_inner);
    print!("{}", report.summary());
    if let Err(error) = write_report(&report) {
        eprintln!("the report cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// One case on one target.
struct Job {
    target: String,
    clause: &'static str,
    case: String,
    run: Box<dyn FnOnce() -> Outcome + Send>,
}

impl Job {
    fn trial(self, gaps: &Arc<Gaps>, report: &Arc<Mutex<Report>>) -> Trial {
        let (gaps, report) = (Arc::clone(gaps), Arc::clone(report));
        let name = format!("{}/{}", self.target, self.case);
        let clause = self.clause;
        let run = move || {
            let outcome = gaps.judge(&self.target, &self.case, (self.run)());
            let outcome = required(&self.target, outcome);
            let record = Record::new(&self.target, clause, &self.case, &outcome);
            report.lock().unwrap_or_else(PoisonError::into_inner).records.push(record);
            complete(&outcome)
        };
        Trial::ignorable_test(name, run).with_kind(clause)
    }
}

/// Runs trials by the arguments of `cargo test`, several name filters included;
/// on so many threads, unless an argument says otherwise.
pub fn run_trials(mut trials: Vec<Trial>, threads: Option<usize>) -> Conclusion {
    let (mut arguments, filters) = arguments();
    arguments.test_threads = arguments.test_threads.or(threads);
    trials.retain(|trial| filters.is_empty() || filters.iter().any(|f| trial.name().contains(f)));
    libtest_mimic::run(&arguments, trials)
}

/// Cases over real servers mostly wait, so more than there are cores can do so;
/// few enough that none of them waits for the others.
fn threads() -> Option<usize> {
    let cores = std::thread::available_parallelism().ok()?.get();
    Some((cores * 9).min(32))
}

fn complete(outcome: &Outcome) -> Result<Completion, Failed> {
    let reason = outcome.reason().unwrap_or_default();
    match outcome {
        Outcome::Pass => Ok(Completion::Completed),
        Outcome::Fail(reason) => Err(reason.clone().into()),
        Outcome::Absent(_) | Outcome::KnownGap(_) => {
            Ok(Completion::ignored_with(format!("{}: {reason}", outcome.as_str())))
        }
        Outcome::NotClaimed | Outcome::Refused => Ok(Completion::ignored_with(outcome.as_str())),
    }
}

/// Absence is a failure where the environment was promised to be complete.
fn required(target: &str, outcome: Outcome) -> Outcome {
    let required = env::var("PORTOLAN_REQUIRE").unwrap_or_default();
    let names = |wanted: &str| required.split(',').any(|name| name == wanted);
    let named = (names("all") || names(target)) && !names(&format!("-{target}"));
    match outcome {
        Outcome::Absent(reason) if named => {
            Outcome::Fail(format!("absent, and PORTOLAN_REQUIRE asks for it: {reason}"))
        }
        outcome => outcome,
    }
}

/// The flags for the harness and the name filters, of which it takes only one.
fn arguments() -> (Arguments, Vec<String>) {
    const WITH_VALUE: [&str; 5] = ["--color", "--format", "--logfile", "--skip", "--test-threads"];
    let (mut flags, mut filters) = (Vec::new(), Vec::new());
    let mut given = env::args();
    flags.extend(given.next());
    while let Some(argument) = given.next() {
        if !argument.starts_with('-') {
            filters.push(argument);
            continue;
        }
        let takes_value = WITH_VALUE.contains(&argument.as_str());
        flags.push(argument);
        if takes_value {
            flags.extend(given.next());
        }
    }
    (Arguments::from_iter(flags), filters)
}

fn write_report(report: &Report) -> std::io::Result<()> {
    match env::var_os("PORTOLAN_REPORT") {
        Some(directory) => report.write(&PathBuf::from(directory)),
        None => Ok(()),
    }
}
