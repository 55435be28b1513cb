//! Which fields of a struct were there.

/// A set of places. Sixty-four fit without an allocation.
#[derive(Debug)]
pub(super) enum Seen {
    Few(u64),
    Many(Box<[u64]>),
}

impl Seen {
    /// Room for so many places.
    pub(super) fn new(count: usize) -> Self {
        match count {
            0..=64 => Self::Few(0),
            _ => Self::Many(vec![0; count.div_ceil(64)].into()),
        }
    }

    /// False if it was there before.
    pub(super) fn insert(&mut self, place: usize) -> bool {
        let bit = 1 << (place % 64);
        let word = match self {
            Self::Few(word) => word,
            Self::Many(words) => &mut words[place / 64],
        };
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    pub(super) fn has(&self, place: usize) -> bool {
        let word = match self {
            Self::Few(word) => *word,
            Self::Many(words) => words[place / 64],
        };
        word & (1 << (place % 64)) != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(word) => *word == 0,
            Self::Many(words) => words.iter().all(|word| *word == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_places_are_told_apart() {
        for count in [1, 64, 65, 1000] {
            let mut seen = Seen::new(count);
            assert!(seen.is_empty() && !seen.has(count - 1));
            assert!(seen.insert(count - 1) && seen.has(count - 1) && !seen.insert(count - 1));
            assert!(count == 1 || !seen.has(0));
        }
    }
}
