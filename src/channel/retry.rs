//! When a call is tried again.

use registry_api::ErrorKind;
use registry_api::call::{CallError, CallErrorKind};

/// How often, and out of which budget, a failed call is tried again, on another
/// instance where there is one.
///
/// Only what is safe is repeated: a call that was certainly not run, and one
/// that may be run twice.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Retry {
    /// The most attempts of one call, the first included.
    pub attempts: u32,
    /// Retries per hundred calls.
    pub percent: u8,
    /// Retries per second on top, for those who call rarely.
    pub floor: u32,
}

impl Default for Retry {
    /// Three attempts, 20 %, 10 per second.
    fn default() -> Self {
        Self { attempts: 3, percent: 20, floor: 10 }
    }
}

impl Retry {
    /// No retries.
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// Sets the most attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the budget: retries per hundred calls, and per second.
    #[must_use]
    pub fn with_budget(mut self, percent: u8, floor: u32) -> Self {
        (self.percent, self.floor) = (percent, floor);
        self
    }

    /// Whether repeating what failed with `error` is safe, and may help.
    pub(super) fn is_safe(self, error: &CallError, idempotent: bool) -> bool {
        let may_help = matches!(
            error.kind(),
            CallErrorKind::Framework
                | CallErrorKind::WrongInstance
                | CallErrorKind::Registry(
                    ErrorKind::Closed
                        | ErrorKind::Overloaded
                        | ErrorKind::Timeout
                        | ErrorKind::PermissionDenied
                        | ErrorKind::Unavailable
                )
        );
        may_help && (idempotent || !error.may_have_run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_run_is_repeated_only_where_that_is_harmless() {
        let retry = Retry::default();
        let lost = CallError::new(ErrorKind::Unavailable.into(), "lost");
        assert!(!retry.is_safe(&lost, false));
        assert!(retry.is_safe(&lost, true));
        assert!(retry.is_safe(&lost.not_run(), false));
        let shed = CallError::new(ErrorKind::Overloaded.into(), "busy");
        assert!(retry.is_safe(&shed, false));
        let application = CallError::application("no", Vec::new().into());
        assert!(!retry.is_safe(&application, true), "it is an answer");
    }
}
