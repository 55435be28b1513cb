//! A retry budget: failures must not multiply the load that causes them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use registry_api::Timestamp;
use registry_api::kernel::Bucket;

/// A share of the calls that were made, and a few on top for those who call
/// rarely.
///
/// On lines of its own: every call writes it, and what lies beside it every
/// pick reads.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Budget {
    /// In thousandths of a token.
    tokens: AtomicI64,
    deposit: i64,
    floor: Option<Mutex<Bucket>>,
}

const TOKEN: i64 = 1000;
/// What can be saved up: a burst of this many.
const MOST: i64 = 100 * TOKEN;

impl Budget {
    /// Every call pays in `percent` of a token, and `floor` tokens come every
    /// second.
    pub(super) fn new(percent: u8, floor: u32) -> Self {
        let every = |floor| Mutex::new(Bucket::new(floor, Duration::from_secs(1) / floor));
        Self {
            tokens: AtomicI64::new(0),
            deposit: i64::from(percent) * TOKEN / 100,
            floor: (floor > 0).then(|| every(floor)),
        }
    }

    /// A call is made.
    pub(super) fn deposit(&self) {
        if self.tokens.load(Ordering::Relaxed) < MOST {
            self.tokens.fetch_add(self.deposit, Ordering::Relaxed);
        }
    }

    /// Whether one more attempt may be made.
    pub(super) fn withdraw(&self, now: Timestamp) -> bool {
        let spend = |tokens: i64| (tokens >= TOKEN).then_some(tokens - TOKEN);
        let saved = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok();
        saved || self.floor.as_ref().is_some_and(|floor| take(floor, now))
    }
}

fn take(floor: &Mutex<Bucket>, now: Timestamp) -> bool {
    floor.lock().unwrap_or_else(PoisonError::into_inner).take(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_and_ten_a_second() {
        let budget = Budget::new(20, 10);
        let start = Timestamp::ZERO + Duration::from_secs(5);
        let mut spent = 0;
        for n in 0..10_000_u32 {
            budget.deposit();
            let now = start + Duration::from_millis(1) * n;
            spent += u32::from(budget.withdraw(now));
        }
        assert!((2090..=2110).contains(&spent), "{spent} retries of 10,000 calls in 10 s");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let budget = Budget::new(20, 0);
        (0..1_000_000).for_each(|_| budget.deposit());
        let spent = (0..1000).filter(|_| budget.withdraw(Timestamp::ZERO)).count();
        assert_eq!(spent, 100);
    }
}
