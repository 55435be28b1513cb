//! Zone first: what is near is called, until it is much slower than what is far.

use std::sync::Arc;

/// Prefers instances of one zone.
///
/// Where the balance compares load, a call leaves the zone when the better of
/// two near instances is expected to take more than `handicap` times as long as
/// a far one: spilling over begins gradually and ends by itself. With every
/// balance it leaves the zone when nobody near can be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneFirst {
    /// The zone that is near.
    pub zone: Arc<str>,
    /// How much slower near may be.
    pub handicap: u32,
}

impl ZoneFirst {
    /// Prefers `zone`, with a handicap of four for all others.
    pub fn new(zone: &str) -> Self {
        Self { zone: zone.into(), handicap: 4 }
    }

    /// Sets the handicap.
    #[must_use]
    pub fn with_handicap(mut self, handicap: u32) -> Self {
        self.handicap = handicap;
        self
    }
}
