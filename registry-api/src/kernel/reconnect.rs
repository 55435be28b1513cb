//! When a process that lost its registry asks it again, for all it holds.

use std::time::Duration;

use super::backoff::Backoff;
use super::bucket::Bucket;
use crate::error::Error;
use crate::time::Timestamp;

/// Spreads the return of many processes over one heartbeat interval.
///
/// While the registry does not answer, the next try comes after a delay with
/// full jitter, whose ceiling doubles up to the heartbeat interval and four
/// seconds more. A thousand processes that wait like this ask less than twice
/// as often as when they beat, and all of them are back within the interval
/// and five seconds. While somebody may still be listed there is more to lose:
/// then the ceiling is the interval alone, and they ask at most twice as often.
#[derive(Clone, Debug)]
pub struct Reconnect {
    interval: Duration,
    backoff: Backoff,
    returns: Bucket,
    rests_until: Timestamp,
}

const FIRST: Duration = Duration::from_millis(100);
/// On top of the heartbeat interval.
const SPREAD: Duration = Duration::from_secs(4);
/// How many returns may follow each other at once.
const BURST: u32 = 3;

impl Reconnect {
    /// For holders of leases that are beaten for every `interval`. The seed is
    /// the caller's: random in production, fixed in a test.
    pub fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            backoff: Backoff::new(FIRST, interval + SPREAD, seed),
            returns: Bucket::new(BURST, interval / 2),
            rests_until: Timestamp::ZERO,
        }
    }

    /// When the registry may be asked.
    pub fn ready_at(&self) -> Timestamp {
        self.rests_until
    }

    /// Whether those who lost their leases may connect again now: at most twice
    /// per heartbeat interval after a burst, whatever the registry does.
    pub fn may_return(&mut self, now: Timestamp) -> bool {
        self.returns.take(now)
    }

    /// When they may.
    pub fn returns_at(&self, now: Timestamp) -> Timestamp {
        self.returns.ready_at(now)
    }

    /// The registry answered.
    pub fn answered(&mut self) {
        self.backoff.reset();
        self.rests_until = Timestamp::ZERO;
    }

    /// The registry did not answer, or refused everything. While anybody is
    /// `listed` there is something to lose, and the next try is not later than
    /// the next beat would be.
    pub fn failed(&mut self, error: &Error, listed: bool, now: Timestamp) {
        let asked = error.retry_delay().unwrap_or_default();
        let delay = match listed {
            true => self.backoff.next_delay_within(self.interval),
            false => self.backoff.next_delay(),
        };
        self.rests_until = now + delay.max(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_thousand_processes_come_back_spread_out() {
        let (interval, second) = (Duration::from_secs(5), Duration::from_secs(1));
        let gone = Error::new(ErrorKind::Unavailable, "gone");
        let away = Timestamp::ZERO + Duration::from_secs(150);
        let mut asked = [0_u32; 20];
        for seed in 0..1000_u64 {
            let mut reconnect = Reconnect::new(interval, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut now = Timestamp::ZERO;
            while now < away {
                reconnect.failed(&gone, false, now);
                now = reconnect.ready_at();
            }
            assert!(now.since(away) <= interval + SPREAD, "back within H + 5 s");
            asked[(now.since(away).as_nanos() / second.as_nanos()) as usize] += 1;
        }
        let steady = 1000 / interval.as_secs() as u32;
        let most = asked.iter().max().copied().unwrap_or_default();
        assert!(most <= 2 * steady, "{most} in one second, {steady} when all is well");
    }
}
