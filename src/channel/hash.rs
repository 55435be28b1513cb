//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2018).

use super::slot::Slot;

/// Sends calls with the same key to the same instance, wherever they come from,
/// unless it has more than its share of the calls in flight; then to the next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BoundedHash {
    /// The header whose value is the key. A call without it goes to the least
    /// loaded.
    pub header: String,
    /// How many times its share of the calls in flight an instance may have.
    pub bound: f64,
}

impl BoundedHash {
    /// Keys are values of this header; 1.25 times the share.
    pub fn by_header(header: &str) -> Self {
        Self { header: header.to_ascii_lowercase(), bound: 1.25 }
    }

    /// Sets the bound.
    #[must_use]
    pub fn with_bound(mut self, bound: f64) -> Self {
        self.bound = bound.max(1.0);
        self
    }
}

/// Points on a circle, each standing for an instance.
#[derive(Debug, Default)]
pub(super) struct Ring {
    points: Vec<(u64, u32)>,
}

/// Points of an instance of average weight: enough that shares differ by a few
/// percent, few enough that ten thousand instances have a million.
const POINTS: f64 = 100.0;
const MAX_POINTS: f64 = 400.0;

impl Ring {
    /// A ring of the slots of a table, by their places.
    pub(super) fn new<'a>(slots: impl Iterator<Item = &'a Slot> + Clone) -> Self {
        let (count, total) = slots.clone().fold((0_u64, 0_u64), |(count, total), slot| {
            (count + 1, total + u64::from(slot.weight))
        });
        let mut points = Vec::new();
        for (place, slot) in slots.enumerate() {
            let share = match total {
                0 => 1.0,
                _ => f64::from(slot.weight) * count as f64 / total as f64,
            };
            let share = (share * POINTS).ceil().min(MAX_POINTS) as u64;
            let own = hash(slot.instance.id.as_str().as_bytes());
            points.extend((0..share).map(|n| (mix(own ^ mix(n)), place as u32)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// The places from a key's point on, each point once.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|(point, _)| *point < key);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, place)| *place as usize)
    }
}

/// The hash of a key: FNV-1a, then mixed. Fixed for ever, so that all callers
/// agree.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    mix(bytes.iter().fold(0xCBF2_9CE4_8422_2325, step))
}

/// The finalizer of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::slot::tests::slot;

    fn owners(slots: &[Slot]) -> Vec<usize> {
        let ring = Ring::new(slots.iter());
        (0..10_000_u64).map(|key| ring.from(mix(key)).next().unwrap()).collect()
    }

    #[test]
    fn keys_follow_the_weights_and_move_little() {
        let slots: Vec<_> = (0..10).map(|n| slot(&format!("i{n}"), 10 + 10 * (n % 2))).collect();
        let before = owners(&slots);
        let heavy = before.iter().filter(|place| *place % 2 == 1).count();
        assert!((6000..7300).contains(&heavy), "{heavy} of 10,000 for two thirds of the weight");
        let after = owners(&slots[..9]);
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != 9 && b != a).count();
        assert!(moved < 800, "{moved} keys moved between those who stayed");
    }

    #[test]
    fn the_hash_is_fixed_for_ever() {
        assert_eq!(hash(b"vasco"), hash(b"vasco"));
        assert_eq!(hash(b""), mix(0xCBF2_9CE4_8422_2325));
        assert_ne!(hash(b"a"), hash(b"b"));
    }
}
