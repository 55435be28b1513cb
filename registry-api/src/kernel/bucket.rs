//! A bound on how often something is done, with room for a burst.

use std::time::Duration;

use crate::time::Timestamp;

/// A token bucket: full at first, one token more every interval.
///
/// Kept as the time at which it will be full again, so that it needs no timer
/// and counts no fractions.
#[derive(Clone, Debug)]
pub struct Bucket {
    interval: Duration,
    capacity: u32,
    full_at: Timestamp,
}

impl Bucket {
    /// A full bucket of `capacity` tokens that gains one every `interval`.
    pub fn new(capacity: u32, interval: Duration) -> Self {
        Self { interval, capacity, full_at: Timestamp::ZERO }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let there = self.ready_at(now) <= now;
        if there {
            self.full_at = self.full_at.max(now) + self.interval;
        }
        there
    }

    /// When there is a token: `now`, or later.
    pub fn ready_at(&self, now: Timestamp) -> Timestamp {
        let room = self.interval * self.capacity.saturating_sub(1);
        let missing = self.full_at.since(now).saturating_sub(room);
        now + missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let mut bucket = Bucket::new(3, Duration::from_millis(100));
        let taken = (0..1000).filter(|ms| bucket.take(at(5000 + ms))).count();
        assert_eq!(taken, 3 + 9);
        assert_eq!(bucket.ready_at(at(6000)), at(6000), "the tenth interval is over");
        assert!(bucket.take(at(6000)));
        assert_eq!(bucket.ready_at(at(6010)), at(6100));
    }

    #[test]
    fn an_empty_one_never_gives() {
        let mut bucket = Bucket::new(1, Duration::MAX);
        assert!(bucket.take(at(0)));
        assert!(!bucket.take(at(u64::MAX / 2_000_000)));
    }
}
