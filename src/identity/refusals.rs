//! Why calls were refused: counted, and told in the log without flooding it.

use std::sync::atomic::{AtomicU64, Ordering};

use registry_api::ErrorKind;
use registry_api::call::CallError;

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It says nothing of who makes it.
    Missing,
    /// What it says cannot be read.
    Malformed,
    /// Somebody signed it whom nobody believes, or not this.
    Forged,
    /// Too long ago, or dated too late.
    Expired,
    /// It was made for another service.
    Elsewhere,
    /// Its subject lacks the role.
    Role,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::Missing, Self::Malformed, Self::Forged, Self::Expired, Self::Elsewhere, Self::Role];

    /// One word, for counters.
    fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Elsewhere => "elsewhere",
            Self::Role => "role",
        }
    }

    /// What the caller is told.
    pub(super) fn error(self) -> CallError {
        let (kind, reason) = match self {
            Self::Missing => (
                ErrorKind::Unauthenticated,
                "the call does not say who makes it; call with a passport",
            ),
            Self::Malformed => (ErrorKind::Unauthenticated, "the identity cannot be read"),
            Self::Forged => {
                (ErrorKind::Unauthenticated, "the identity is signed by nobody who is trusted here")
            }
            Self::Expired => (ErrorKind::Unauthenticated, "the identity is out of date"),
            Self::Elsewhere => (ErrorKind::Unauthenticated, "the identity is for another service"),
            Self::Role => (ErrorKind::PermissionDenied, "the caller lacks the role for this"),
        };
        CallError::new(kind.into(), reason)
    }
}

/// Counts refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals([Refused; Refusal::ALL.len()]);

#[derive(Debug, Default)]
struct Refused {
    count: AtomicU64,
    /// When the log was last told, in seconds since 1970.
    told: AtomicU64,
}

/// One line for each reason in so many seconds.
const QUIET: u64 = 60;

impl Refusals {
    pub(super) fn count(&self, refusal: Refusal, service: &str, method: &str, now: u64) {
        if let Some(count) = self.is_to_be_told(refusal, now) {
            let reason = refusal.name();
            tracing::warn!(reason, service, method, count, "a call was refused");
        }
    }

    /// How many there were, where the log was told long ago.
    fn is_to_be_told(&self, refusal: Refusal, now: u64) -> Option<u64> {
        let refused = &self.0[Refusal::ALL.iter().position(|one| *one == refusal)?];
        let count = refused.count.fetch_add(1, Ordering::Relaxed) + 1;
        let told = refused.told.load(Ordering::Relaxed);
        let is_due = told == 0 || now.saturating_sub(told) >= QUIET;
        let is_ours = || {
            let (was, is) = (Ordering::Relaxed, Ordering::Relaxed);
            refused.told.compare_exchange(told, now, was, is).is_ok()
        };
        (is_due && is_ours()).then_some(count)
    }

    /// As Prometheus' text format has it.
    pub(super) fn metrics(&self) -> String {
        let name = "portolan_calls_refused_total";
        let head = format!(
            "# HELP {name} Calls whose caller was not believed or not allowed.\n# TYPE {name} counter\n"
        );
        let lines = Refusal::ALL.iter().zip(&self.0).map(|(refusal, refused)| {
            let count = refused.count.load(Ordering::Relaxed);
            format!("{name}{{reason=\"{}\"}} {count}\n", refusal.name())
        });
        head + &lines.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_the_log_is_told_once_a_minute() {
        let (refusals, now) = (Refusals::default(), 2_000_000_000);
        assert_eq!(refusals.is_to_be_told(Refusal::Forged, now), Some(1));
        for second in 0..QUIET {
            assert_eq!(refusals.is_to_be_told(Refusal::Forged, now + second), None);
        }
        assert_eq!(refusals.is_to_be_told(Refusal::Role, now), Some(1), "each reason by itself");
        assert_eq!(refusals.is_to_be_told(Refusal::Forged, now + QUIET), Some(62));
        let told = refusals.metrics();
        assert!(told.contains("{reason=\"forged\"} 62\n"), "{told}");
        assert!(told.contains("{reason=\"missing\"} 0\n"), "{told}");
    }

    #[test]
    fn only_a_role_is_a_matter_of_rights() {
        for refusal in Refusal::ALL {
            let kind = refusal.error().kind();
            let denied = kind == ErrorKind::PermissionDenied.into();
            assert_eq!(denied, refusal == Refusal::Role, "{refusal:?}");
        }
    }
}
