//! The better of two: least loaded without looking at everybody.
//!
//! With two random choices the longest queue grows with the logarithm of the
//! logarithm of the number of instances (Mitzenmacher, 2001).

use super::node::Tick;
use super::slot::Slot;

/// Whether `a` is expected to answer no later than `b`, each weighed. An answer
/// time that is not known says nothing: then calls in flight decide.
#[inline]
pub(super) fn is_better(a: &Slot, b: &Slot, handicap: u64, now: Tick) -> bool {
    let (fast_a, fast_b) = (a.node.latency(now), b.node.latency(now));
    let (fast_a, fast_b) = if fast_a == 0 || fast_b == 0 { (1, 1) } else { (fast_a, fast_b) };
    let cost = |latency: u32, slot: &Slot| {
        u128::from(latency) * u128::from(u64::from(slot.node.in_flight()) + 1)
    };
    let weight = |slot: &Slot| u128::from(slot.weight.max(1));
    cost(fast_a, a) * weight(b) <= cost(fast_b, b) * weight(a) * u128::from(handicap)
}
