//! A second attempt before the first has failed.

/// Asks a second instance when the first takes longer than the endpoint's
/// declared p95, for endpoints and calls that may be run twice. Whoever answers
/// first is heard; the other is cancelled.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Hedge {
    /// Hedges per hundred calls: by the meaning of a p95, five would do.
    pub percent: u8,
}

impl Default for Hedge {
    /// 5 %.
    fn default() -> Self {
        Self { percent: 5 }
    }
}
