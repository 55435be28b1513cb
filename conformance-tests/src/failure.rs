//! Why a case failed.

use std::fmt::{self, Debug, Display};

use registry_api::Error;
use registry_api::call::CallError;

/// What was expected and what was seen instead.
#[derive(Debug)]
pub enum Failure {
    /// The target does not have what the case needs.
    Absent(String),
    /// The clause does not hold.
    Broken(String),
    /// The clause is about what the target does not have.
    NotClaimed,
}

impl Failure {
    /// The clause does not hold.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }

    /// The target does not have what the case needs.
    pub fn absent(what: impl Into<String>) -> Self {
        Self::Absent(what.into())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(what) | Self::Broken(what) => f.write_str(what),
            Self::NotClaimed => f.write_str("not claimed"),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::new(format!("unexpected error of a call: {error:?}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(format!("unexpected error: {error}"))
    }
}

/// Fails with `what` unless `holds`.
pub fn check(holds: bool, what: impl Display) -> Result<(), Failure> {
    match holds {
        true => Ok(()),
        false => Err(Failure::new(what.to_string())),
    }
}

/// Fails unless both are equal.
pub fn check_eq<T: PartialEq + Debug>(seen: &T, expected: &T, what: &str) -> Result<(), Failure> {
    check(seen == expected, format_args!("{what}: expected {expected:?}, saw {seen:?}"))
}
