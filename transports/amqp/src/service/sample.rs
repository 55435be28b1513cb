//! How fast an endpoint is: rates of the last minutes, and the times of the last calls.

use std::time::Duration;

/// Calls of one outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Not yet in the rates.
    fresh: u64,
    rates: [f64; 3],
    /// Intervals that are in the rates.
    intervals: u64,
    total: u64,
    /// The times of the last calls in milliseconds, the oldest being overwritten.
    times: Vec<f64>,
    next: usize,
}

/// What is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Calls per second over one, five and fifteen minutes.
    pub(super) rates: [f64; 3],
    /// In milliseconds.
    pub(super) mean: f64,
    pub(super) deviation: f64,
    pub(super) upper95: f64,
}

/// Rates move once in this time, as those of a Unix load do.
const INTERVAL: Duration = Duration::from_secs(5);
const MINUTES: [f64; 3] = [1.0, 5.0, 15.0];
/// The calls that times are told of.
const KEPT: usize = 1_024;

impl Sample {
    /// A call took so long; `uptime` is the time since all began.
    pub(super) fn add(&mut self, took: Duration, uptime: Duration) {
        self.move_to(uptime);
        self.fresh += 1;
        self.total += 1;
        let ms = took.as_secs_f64() * 1_000.0;
        match self.times.len() < KEPT {
            true => self.times.push(ms),
            false => self.times[self.next] = ms,
        }
        self.next = (self.next + 1) % KEPT;
    }

    pub(super) fn figures(&mut self, uptime: Duration) -> Figures {
        self.move_to(uptime);
        let mut times = self.times.clone();
        if times.is_empty() {
            return Figures { rates: self.rates, ..Figures::default() };
        }
        times.sort_by(f64::total_cmp);
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
        let upper95 = times[(times.len() * 95 / 100).min(times.len() - 1)];
        Figures { rates: self.rates, mean, deviation: variance.sqrt(), upper95 }
    }

    fn move_to(&mut self, uptime: Duration) {
        let now = uptime.as_secs() / INTERVAL.as_secs();
        let passed = now.saturating_sub(self.intervals);
        if passed == 0 {
            return;
        }
        let per_second = self.fresh as f64 / INTERVAL.as_secs_f64();
        for (rate, minutes) in self.rates.iter_mut().zip(MINUTES) {
            let keeps = (-INTERVAL.as_secs_f64() / 60.0 / minutes).exp();
            // The first interval is all that is known.
            *rate = match self.intervals {
                0 => per_second,
                _ => per_second + keeps * (*rate - per_second),
            };
            *rate *= keeps.powi(i32::try_from(passed - 1).unwrap_or(i32::MAX)); // Without a call.
        }
        self.fresh = 0;
        self.intervals = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_those_of_the_calls() {
        let mut sample = Sample::default();
        assert_eq!(sample.figures(Duration::ZERO), Figures::default());
        // Ten a second for ten minutes, 1 to 100 ms.
        for call in 0..6_000_u64 {
            let took = Duration::from_millis(call % 100 + 1);
            sample.add(took, Duration::from_millis(call * 100));
        }
        let figures = sample.figures(Duration::from_secs(600));
        assert!(figures.rates.iter().all(|rate| (rate - 10.0).abs() < 0.1), "{figures:?}");
        assert!((figures.mean - 50.5).abs() < 2.0, "{figures:?}");
        assert!((figures.upper95 - 95.0).abs() <= 2.0, "{figures:?}");
        assert!((figures.deviation - 28.9).abs() < 1.0, "{figures:?}");
        assert_eq!(sample.times.len(), KEPT);
        let later = sample.figures(Duration::from_secs(900));
        assert!(later.rates[0] < 0.1 && later.rates[2] > 7.0, "{later:?}");
    }
}
