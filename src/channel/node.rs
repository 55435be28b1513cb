//! What a channel knows of one life of one instance: its load and its failures.

use std::time::Duration;

use super::sync::{AtomicU32, Ordering};

/// A coarse time: tenths of a second on the channel's clock. Reading the clock
/// costs more than everything else about a pick, so picks use the last reading.
pub(crate) type Tick = u32;

/// A tick.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Load and failures, on a cache line of its own: two threads that call two
/// instances share nothing.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Node {
    in_flight: AtomicU32,
    /// A moving average of answer times in microseconds; zero before the first.
    latency: AtomicU32,
    /// When it was last moved.
    sampled: AtomicU32,
    /// Failures since the last success.
    streak: AtomicU32,
    ejected_until: AtomicU32,
    ejections: AtomicU32,
}

/// An average nobody refreshes is halved this often: what was slow once is
/// tried again.
const HALF_LIFE: Tick = 100;
/// What a failure adds at least. An instance that fails quickly is not a fast one.
const FAILURE: Duration = Duration::from_millis(100);

impl Node {
    #[inline]
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The average answer time in microseconds, as far as it can be trusted
    /// `now`; zero where nothing is known.
    #[inline]
    pub(crate) fn latency(&self, now: Tick) -> u32 {
        let age = now.wrapping_sub(self.sampled.load(Ordering::Relaxed));
        // A clock that seems to go back is another thread's reading.
        let age = if age > Tick::MAX / 2 { 0 } else { age };
        let known = self.latency.load(Ordering::Relaxed);
        known.checked_shr(age / HALF_LIFE).unwrap_or(0)
    }

    /// It answered.
    pub(crate) fn answered(&self, took: Duration, now: Tick) {
        self.sample(took, now);
        // Written only where it changes: the line is shared by its callers.
        if self.streak.load(Ordering::Relaxed) != 0 {
            self.streak.store(0, Ordering::Relaxed);
        }
    }

    /// It refused a call to protect itself: busy, not broken.
    pub(crate) fn refused(&self, took: Duration, now: Tick) {
        let known = Duration::from_micros(self.latency(now).into());
        self.sample(took.max(FAILURE).max(known * 2), now);
    }

    /// It failed. Returns how often in a row.
    pub(crate) fn failed(&self, took: Duration, now: Tick) -> u32 {
        self.refused(took, now);
        self.streak.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Nobody waited for its answer any longer.
    pub(crate) fn outlasted(&self, waited: Duration, now: Tick) {
        if waited > Duration::from_micros(self.latency(now).into()) {
            self.sample(waited, now);
        }
    }

    /// Moves the average: up at once, by half; down slowly, by an eighth.
    fn sample(&self, took: Duration, now: Tick) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let known = self.latency(now);
        let moved = match known {
            0 => took,
            known if took > known => known + (took - known) / 2,
            known => known - (known - took) / 8,
        };
        // Of two samples at the same moment one may be lost. It is an average.
        self.latency.store(moved, Ordering::Relaxed);
        if self.sampled.load(Ordering::Relaxed) != now {
            self.sampled.store(now, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_ejected(&self, now: Tick) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    /// Ejects it, longer each time. Returns until when.
    pub(crate) fn eject(&self, base: Tick, longest: Tick, now: Tick) -> Tick {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed) + 1;
        let until = now.saturating_add(base.saturating_mul(times).min(longest));
        self.ejected_until.store(until, Ordering::Relaxed);
        self.streak.store(0, Ordering::Relaxed);
        until
    }

    /// Until when it is ejected; zero if it never was.
    pub(crate) fn ejected_until(&self) -> Tick {
        self.ejected_until.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_rises_fast_falls_slowly_and_is_forgotten() {
        let (node, ms) = (Node::default(), Duration::from_millis);
        node.answered(ms(8), 0);
        assert_eq!(node.latency(0), 8000);
        node.answered(ms(16), 1);
        assert_eq!(node.latency(1), 12_000);
        node.answered(ms(4), 2);
        assert_eq!(node.latency(2), 11_000);
        assert_eq!(node.latency(2 + HALF_LIFE), 5_500);
        assert_eq!(node.latency(2 + 40 * HALF_LIFE), 0);
    }

    #[test]
    fn giving_up_early_says_nothing_and_late_that_it_is_slow() {
        let (node, ms) = (Node::default(), Duration::from_millis);
        node.answered(ms(10), 0);
        node.outlasted(ms(2), 0);
        assert_eq!(node.latency(0), 10_000);
        node.outlasted(ms(30), 0);
        assert_eq!(node.latency(0), 20_000);
    }

    #[test]
    fn failing_fast_is_not_fast() {
        let node = Node::default();
        node.answered(Duration::from_millis(10), 0);
        assert_eq!(node.failed(Duration::from_micros(50), 1), 1);
        assert!(node.latency(1) > 50_000, "{}", node.latency(1));
    }
}
