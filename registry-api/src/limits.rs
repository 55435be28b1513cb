//! What a backend accepts and how exact it is.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::lease::LeaseTerms;

/// The bounds of a backend. The ones on data are the same everywhere; the ones
/// on time are the backend's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The shortest ttl that is granted; shorter ones are rounded up.
    pub min_ttl: Duration,
    /// Terms are rounded up to whole multiples of this.
    pub ttl_granularity: Duration,
    /// δ: how late offline and delisted may be seen by a watcher.
    pub detection_slack: Duration,
    /// A watch that has nothing to say reports progress at least this often.
    pub progress_interval: Duration,
    /// The most events that are kept for a watcher that does not read; behind
    /// that it gets a Reset.
    pub watch_backlog: usize,
}

impl Limits {
    /// The most instances in one connect and beats in one heartbeat.
    pub const MAX_BATCH: usize = 10_000;
    /// The most services in one registration.
    pub const MAX_SERVICES: usize = 1_000;
    /// The most services an instance offers.
    pub const MAX_OFFERS: usize = 32;
    /// The most addresses of one offer.
    pub const MAX_ADDRESSES: usize = 16;
    /// The longest version, zone, description or method path, in bytes.
    pub const MAX_TEXT: usize = 1_024;
    /// The longest IDL text, in bytes.
    pub const MAX_IDL: usize = 256 * 1024;
    /// The most routes or endpoints of one service.
    pub const MAX_ROUTES: usize = 1_000;
    /// The most live API keys of an owner: two, for rotation.
    pub const MAX_KEYS: usize = 2;

    /// Millisecond terms, immediate detection, progress every 5 s.
    pub const fn new() -> Self {
        Self {
            min_ttl: Duration::from_millis(1),
            ttl_granularity: Duration::from_millis(1),
            detection_slack: Duration::ZERO,
            progress_interval: Duration::from_secs(5),
            watch_backlog: 16_384,
        }
    }

    /// Sets the detection slack δ.
    #[must_use]
    pub const fn with_detection_slack(mut self, slack: Duration) -> Self {
        self.detection_slack = slack;
        self
    }

    /// Sets how many events are kept for a watcher that does not read.
    #[must_use]
    pub const fn with_watch_backlog(mut self, events: usize) -> Self {
        self.watch_backlog = events;
        self
    }

    /// Sets the shortest ttl and the step terms are rounded to.
    #[must_use]
    pub const fn with_ttl(mut self, min: Duration, granularity: Duration) -> Self {
        self.min_ttl = min;
        self.ttl_granularity = granularity;
        self
    }

    /// The terms that are granted where `asked` is asked for: never shorter.
    pub fn grant(&self, asked: LeaseTerms) -> Result<LeaseTerms> {
        let ttl = self.round_up(asked.ttl().max(self.min_ttl));
        let ttd = self.round_up(asked.ttd().max(ttl));
        LeaseTerms::new(ttl.min(LeaseTerms::MAX), ttd.min(LeaseTerms::MAX))
    }

    fn round_up(&self, duration: Duration) -> Duration {
        let step = self.ttl_granularity.as_nanos().max(1);
        let steps = duration.as_nanos().div_ceil(step);
        let nanos = u64::try_from(steps.saturating_mul(step)).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// Refuses a text over [`Limits::MAX_TEXT`] or with control characters.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<()> {
    if text.len() > Limits::MAX_TEXT {
        let rule = format!("must have at most {} bytes", Limits::MAX_TEXT);
        return Err(Error::invalid(field, rule));
    }
    if text.contains(['\0', '\r']) {
        return Err(Error::invalid(field, "must hold no NUL and no CR"));
    }
    Ok(())
}

/// Refuses a list longer than `max`.
pub(crate) fn check_count(field: &'static str, count: usize, max: usize) -> Result<()> {
    if count <= max {
        return Ok(());
    }
    let rule = format!("must have at most {max} entries, has {count}");
    Err(Error::invalid(field, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_round_up_and_keep_the_order() {
        let seconds = Duration::from_secs(1);
        let limits = Limits::new().with_ttl(2 * seconds, seconds);
        let asked = LeaseTerms::new(Duration::from_millis(300), Duration::from_millis(2100));
        let granted = limits.grant(asked.unwrap()).unwrap();
        assert_eq!(granted.ttl(), 2 * seconds);
        assert_eq!(granted.ttd(), 3 * seconds);
    }
}
