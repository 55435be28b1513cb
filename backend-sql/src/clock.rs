//! Whether the judging clock runs as ours does.
//!
//! Leases are judged by the database's clock. If that one jumps, every lease
//! would end at once, or live on for hours; what shows the jump is that the
//! clock of this process did not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use registry_api::Timestamp;

/// The two clocks may drift apart by this between two looks: half of the
/// shortest ttl that is granted.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(500);

/// One look at the judging clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// On our clock: when it was asked, and when it had answered.
    pub(crate) asked: Timestamp,
    pub(crate) answered: Timestamp,
    /// On the judging clock, in microseconds.
    pub(crate) now: i64,
    /// How often the clock is known to have jumped.
    pub(crate) term: i64,
}

impl Reading {
    /// The judging clock was ahead of ours by something in between.
    fn ahead(&self) -> (i128, i128) {
        let micros = |time: Timestamp| i128::from(time.as_nanos() / 1_000);
        (i128::from(self.now) - micros(self.answered), i128::from(self.now) - micros(self.asked))
    }
}

/// Compares one reading with the next.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch(Mutex<Option<Reading>>);

impl ClockWatch {
    /// Whether the judging clock jumped since the last reading. If so, nothing
    /// that was judged with this reading may be believed.
    pub(crate) fn has_jumped(&self, reading: Reading) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.filter(|last| last.term == reading.term);
        let Some(known) = known else {
            *last = Some(reading); // The first one, or others have noticed a jump.
            return false;
        };
        let tolerance = TOLERANCE.as_micros() as i128;
        let ((low, high), (was_low, was_high)) = (reading.ahead(), known.ahead());
        if low > was_high + tolerance || high < was_low - tolerance {
            return true;
        }
        // A reading that took long says little; the clocks hardly drift meanwhile.
        if high - low <= tolerance {
            *last = Some(reading);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading at `ours` that took `took`, all in milliseconds.
    fn reading(ours: u64, took: u64, now: i64, term: i64) -> Reading {
        let at = |ms| Timestamp::ZERO + Duration::from_millis(ms);
        Reading { asked: at(ours), answered: at(ours + took), now: now * 1_000, term }
    }

    #[test]
    fn a_jump_in_either_direction_is_seen() {
        for jumped in [3_600_000, -3_600_000, 700, -700] {
            let watch = ClockWatch::default();
            assert!(!watch.has_jumped(reading(0, 1, 50_000, 1)));
            assert!(!watch.has_jumped(reading(1_000, 1, 51_000, 1)));
            assert!(watch.has_jumped(reading(2_000, 1, 52_000 + jumped, 1)), "{jumped}");
            // Until somebody has noted it.
            assert!(watch.has_jumped(reading(3_000, 1, 53_000 + jumped, 1)), "{jumped}");
            assert!(!watch.has_jumped(reading(4_000, 1, 54_000 + jumped, 2)), "{jumped}");
            assert!(!watch.has_jumped(reading(5_000, 1, 55_000 + jumped, 2)), "{jumped}");
        }
    }

    #[test]
    fn slow_answers_and_slow_drift_are_no_jumps() {
        let watch = ClockWatch::default();
        assert!(!watch.has_jumped(reading(0, 1, 50_000, 1)));
        // The database stood still for ten seconds, before or after it looked.
        assert!(!watch.has_jumped(reading(1_000, 10_000, 51_001, 1)));
        assert!(!watch.has_jumped(reading(20_000, 10_000, 79_999, 1)));
        for step in 1..100 {
            let drift = 100 * i64::try_from(step).unwrap();
            let ours = 30_000 + step * 1_000;
            let now = 50_000 + i64::try_from(ours).unwrap() + drift;
            assert!(!watch.has_jumped(reading(ours, 1, now, 1)));
        }
    }
}
