//! What channels did.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one channel, or of several that share them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Calls that were asked for.
    pub calls: Count,
    /// Attempts that were made for them.
    pub attempts: Count,
    /// Attempts because another one failed.
    pub retries: Count,
    /// Attempts because another one was slow.
    pub hedges: Count,
    /// Calls refused because too many were in flight and waiting.
    pub shed: Count,
    /// Calls refused by a breaker.
    pub broken: Count,
    /// Instances ejected.
    pub ejections: Count,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// How often it happened.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
