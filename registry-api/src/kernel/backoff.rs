//! How long to wait before the next try.

use std::time::Duration;

/// Exponential backoff with full jitter: the next delay is uniform between zero
/// and a ceiling that doubles, so that a thousand clients that fail together do
/// not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
    random: u64,
}

impl Backoff {
    /// Ceilings from `first`, doubling up to `cap`. The seed is the caller's:
    /// random in production, fixed in a test.
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            first,
            cap,
            ceiling: first,
            random: seed | 1, // xorshift stays at zero for ever
        }
    }

    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        self.next_delay_within(self.cap)
    }

    /// The delay before the next try, drawn from no more than `most`: cutting a
    /// longer one off would make many delays the same.
    pub fn next_delay_within(&mut self, most: Duration) -> Duration {
        let ceiling = self.ceiling.min(most);
        self.ceiling = (ceiling * 2).min(self.cap);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 32) as u32;
        ceiling.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }

    /// Starts again from the first ceiling.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_to_the_cap_and_reset() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000), 7);
        for ceiling in [100, 200, 400, 800, 1000, 1000] {
            assert!(backoff.next_delay() <= ms(ceiling));
        }
        backoff.reset();
        assert!(backoff.next_delay() <= ms(100));
    }
}
