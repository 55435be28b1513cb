//! Cases that a backend has for itself, in a program of their own: what only it
//! has, and what only it can lack.

use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::failure::Failure;
use crate::target::Absent;

/// Why a case did not pass.
#[derive(Debug)]
pub enum Outcome {
    /// What it needs is not here.
    Absent(String),
    /// It failed.
    Broken(String),
    /// This one has nothing that could fail like this.
    NotClaimed,
    /// Only root can do this to a machine.
    Root,
}

impl From<Absent> for Outcome {
    fn from(Absent(reason): Absent) -> Self {
        Self::Absent(reason)
    }
}

impl From<registry_api::Error> for Outcome {
    fn from(error: registry_api::Error) -> Self {
        Self::Broken(format!("unexpected error: {error:?}"))
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure.to_string())
    }
}

/// Fails unless `condition` holds.
pub fn check(condition: bool, otherwise: impl std::fmt::Display) -> Result<(), Outcome> {
    condition.then_some(()).ok_or_else(|| Outcome::Broken(otherwise.to_string()))
}

/// Tries until it holds, for so long.
pub async fn within<F>(
    long: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Result<(), Outcome>
where
    F: Future<Output = Result<bool, Outcome>>,
{
    let step = Duration::from_millis(50);
    for _ in 0..long.as_millis() / step.as_millis() {
        if holds().await? {
            return Ok(());
        }
        tokio::time::sleep(step).await;
    }
    Err(Outcome::Broken(format!("not within {long:?}: {what}")))
}

/// The longest a case may take.
const LIMIT: Duration = Duration::from_secs(180);

/// A case as a test, on a runtime of its own.
pub fn trial<F>(title: String, run: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<(), Outcome>>,
{
    Trial::ignorable_test(title, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(async { tokio::time::timeout(LIMIT, run()).await });
        conclude(done.map_err(|_| Failed::from("it did not end in time"))?)
    })
}

/// What is absent is a failure where everything was promised to be there; what
/// needs root is not promised.
fn conclude(done: Result<(), Outcome>) -> Result<Completion, Failed> {
    let required = std::env::var("PORTOLAN_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|name| name == "all");
    match done {
        Ok(()) => Ok(Completion::Completed),
        Err(Outcome::Broken(reason)) => Err(reason.into()),
        Err(Outcome::Absent(reason)) if required => {
            Err(format!("absent, and PORTOLAN_REQUIRE asks for it: {reason}").into())
        }
        Err(Outcome::Absent(reason)) => Ok(Completion::ignored_with(format!("absent: {reason}"))),
        Err(Outcome::Root) => Ok(Completion::ignored_with("root")),
        Err(Outcome::NotClaimed) => Ok(Completion::ignored_with("not claimed")),
    }
}
