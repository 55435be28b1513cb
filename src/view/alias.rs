//! A weighted choice in one look, however many there are to choose from.

/// An alias table (Vose): each row is shared by at most two of its entries, so
/// one random number finds a row and decides between the two.
#[derive(Clone, Debug)]
pub(crate) struct AliasTable<T> {
    rows: Vec<Row<T>>,
}

#[derive(Clone, Debug)]
struct Row<T> {
    entry: T,
    /// The share of this row's entry, out of 2³².
    own: u64,
    /// The row that has the rest.
    other: u32,
}

const WHOLE: u64 = 1 << 32;

impl<T> Default for AliasTable<T> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<T> AliasTable<T> {
    /// A table of entries with their weights; all weigh the same where all are
    /// zero.
    pub(crate) fn new(entries: impl IntoIterator<Item = (T, u32)>) -> Self {
        let (entries, weights): (Vec<T>, Vec<u32>) = entries.into_iter().unzip();
        let mut shares = shares(&weights);
        let (mut small, mut large): (Vec<_>, Vec<_>) =
            (0..shares.len()).partition(|row| shares[*row] < WHOLE);
        let own = |(row, entry)| Row { entry, own: WHOLE, other: row as u32 };
        let mut rows: Vec<_> = entries.into_iter().enumerate().map(own).collect();
        while let (Some(row), Some(donor)) = (small.pop(), large.last().copied()) {
            rows[row].own = shares[row];
            rows[row].other = donor as u32;
            shares[donor] -= WHOLE - shares[row];
            if shares[donor] < WHOLE {
                large.pop();
                small.push(donor);
            }
        }
        Self { rows }
    }

    /// The place a random number stands for; `None` where there is nothing.
    #[inline]
    pub(crate) fn choose(&self, random: u64) -> Option<usize> {
        let place = (((random >> 32) * self.rows.len() as u64) >> 32) as usize;
        let row = self.rows.get(place)?;
        let own = (random & (WHOLE - 1)) < row.own;
        Some(if own { place } else { row.other as usize })
    }

    /// What stands at a place that was chosen.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> &T {
        &self.rows[place].entry
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.rows.iter().map(|row| &row.entry)
    }
}

/// Shares scaled so that the average row is exactly full.
fn shares(weights: &[u32]) -> Vec<u64> {
    let count = weights.len() as u64;
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let scale = |weight: u32| match total {
        0 => WHOLE,
        _ => (u128::from(weight) * u128::from(count * WHOLE) / u128::from(total)) as u64,
    };
    weights.iter().copied().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_follow_the_weights() {
        let weights = [1, 2, 3, 0, 94];
        let table = AliasTable::new(weights.map(|weight| (weight, weight)));
        let mut chosen = [0_u32; 5];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            chosen[table.choose(random.u64(..)).unwrap()] += 1;
        }
        for (count, weight) in chosen.into_iter().zip(weights) {
            let expected = weight * 1000;
            assert!(count.abs_diff(expected) <= expected / 8, "{chosen:?}");
        }
    }

    #[test]
    fn none_and_all_zero() {
        assert_eq!(AliasTable::<()>::default().choose(7), None);
        let table = AliasTable::new([((), 0), ((), 0)]);
        assert_eq!((table.choose(0), table.choose(u64::MAX)), (Some(0), Some(1)));
    }
}
