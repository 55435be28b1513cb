//! Time as the judge of leases sees it: a number on one clock, never wall time.

use std::fmt::{self, Debug};
use std::ops::Add;
use std::time::Duration;

use async_trait::async_trait;

/// A point on the judging clock, in nanoseconds since an arbitrary start.
///
/// Timestamps of different clocks cannot be compared and never travel: outside
/// the judge only ages do.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// A timestamp `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates: a lease of 500 years never wraps into the past.
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// The source of time of everything that waits or judges.
///
/// Must be monotonic. The facade's `SystemClock` is the real one; the
/// conformance suite passes a clock that it moves by hand.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Returns once [`now`](Self::now) is at or past `deadline`.
    ///
    /// Cancel-safe: dropping the future has no effect.
    async fn sleep_until(&self, deadline: Timestamp);
}
