//! Which instance gets the next call.

use super::hash::BoundedHash;

/// How a channel chooses among those that may be picked. Weights count in all
/// of them; an instance of weight zero is chosen only where all are.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Balance {
    /// Of two chosen by weight, the one that is expected to answer first: the
    /// lower product of its average answer time and its calls in flight.
    #[default]
    LeastLoaded,
    /// By weight alone.
    Weighted,
    /// The same instance for the same key, as long as it is not overloaded.
    Hash(BoundedHash),
    /// One instance for all calls, until it goes or fails.
    Sticky,
}
