//! Alternating rounds, and the table.

use std::time::{Duration, Instant};

const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(100);
/// How far over its goal a ratio still counts as met.
const TOLERANCE: f64 = 0.05;

pub struct Table {
    rows: Vec<(String, String, String, bool)>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// A row about two loops: each runs the given number of operations.
    pub fn ratio(&mut self, name: &str, goal: f64, floor: impl FnMut(u64), ours: impl FnMut(u64)) {
        let (median, shown) = alternate(floor, ours, |floor, ours| ours / floor);
        let wanted = if goal.is_finite() { format!("≤ {goal}") } else { "-".to_owned() };
        self.row(name, shown, wanted, median <= goal + TOLERANCE);
    }

    /// A row about throughput: both do the same number of operations, ours must
    /// reach this share of the floor's rate.
    pub fn rate(&mut self, name: &str, goal: f64, floor: impl FnMut(u64), ours: impl FnMut(u64)) {
        let (median, shown) = alternate(floor, ours, |floor, ours| floor / ours);
        let wanted = if goal > 0.0 { format!("≥ {goal}") } else { "-".to_owned() };
        self.row(name, shown, wanted, median >= goal - TOLERANCE);
    }

    /// A row whose goal is a time, because that is what a reader must add to a
    /// call of his own. The only rows that are no ratios.
    pub fn nanoseconds(&mut self, name: &str, goal: f64, mut ours: impl FnMut(u64)) {
        let count = calibrate(&mut ours);
        let mut times: Vec<f64> =
            (0..ROUNDS).map(|_| per_operation(&mut ours, count) * 1e9).collect();
        times.sort_by(f64::total_cmp);
        let (median, least, most) = (times[ROUNDS / 2], times[0], times[ROUNDS - 1]);
        let wanted = if goal.is_finite() { format!("≤ {goal}") } else { "-".to_owned() };
        self.row(name, format!("{median:.0} [{least:.0}..{most:.0}]"), wanted, median <= goal);
    }

    /// A row about throughput that was measured elsewhere: of each round the time of the
    /// floor, and ours for as many operations.
    pub fn rounds(&mut self, name: &str, goal: f64, rounds: &[(f64, f64)]) {
        let mut ratios: Vec<f64> = rounds.iter().map(|(floor, ours)| floor / ours).collect();
        ratios.sort_by(f64::total_cmp);
        let (median, least, most) = (ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1]);
        let shown = format!("{median:.2} [{least:.2}..{most:.2}]");
        self.row(name, shown, format!("≥ {goal}"), median >= goal - TOLERANCE);
    }

    /// A row about a figure that is no ratio of times.
    pub fn figure(&mut self, name: &str, value: f64, goal: f64) {
        self.row(name, format!("{value:.2}"), format!("≤ {goal}"), value <= goal);
    }

    fn row(&mut self, name: &str, shown: String, goal: String, met: bool) {
        self.rows.push((name.to_owned(), shown, goal, met));
    }

    pub fn all_met(&self) -> bool {
        self.rows.iter().all(|row| row.3)
    }

    pub fn print(&self) {
        println!("| row | ours / floor, median [min..max] | goal | met |");
        println!("|---|---|---|---|");
        for (name, shown, goal, met) in &self.rows {
            println!("| {name} | {shown} | {goal} | {} |", if *met { "yes" } else { "NO" });
        }
    }
}

/// Rounds of both in turn: the median of what `of` makes of their times per
/// operation, and the same as it is shown.
fn alternate(
    mut floor: impl FnMut(u64),
    mut ours: impl FnMut(u64),
    of: impl Fn(f64, f64) -> f64,
) -> (f64, String) {
    let (floor_count, ours_count) = (calibrate(&mut floor), calibrate(&mut ours));
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let below = per_operation(&mut floor, floor_count);
            of(below, per_operation(&mut ours, ours_count))
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (median, least, most) = (ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    (median, format!("{median:.2} [{least:.2}..{most:.2}]"))
}

fn per_operation(run: &mut impl FnMut(u64), count: u64) -> f64 {
    let begun = Instant::now();
    run(count);
    begun.elapsed().as_secs_f64() / count as f64
}

/// How many operations fill a round.
fn calibrate(run: &mut impl FnMut(u64)) -> u64 {
    let mut count = 16;
    loop {
        let begun = Instant::now();
        run(count);
        let took = begun.elapsed();
        if took > ROUND / 4 {
            return (count as f64 * ROUND.as_secs_f64() / took.as_secs_f64()).max(1.0) as u64;
        }
        count *= 2;
    }
}

/// A random number, the same for floor and ours.
pub struct Random(pub u64);

impl Random {
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
