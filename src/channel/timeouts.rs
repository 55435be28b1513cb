//! How long a call may take.

use std::time::Duration;

use registry_api::Sla;

/// The time of calls whose callers do not say: a multiple of the declared 95th
/// percentile of the endpoint, within bounds.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// Where no SLA is declared.
    pub usual: Duration,
    /// How many times the p95.
    pub factor: u32,
    /// Never less than this.
    pub least: Duration,
    /// Never more, whoever asks.
    pub most: Duration,
}

impl Default for Timeouts {
    /// Ten seconds; four times the p95; at least one second; at most a minute.
    fn default() -> Self {
        Self {
            usual: Duration::from_secs(10),
            factor: 4,
            least: Duration::from_secs(1),
            most: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// Sets the time of endpoints without an SLA.
    #[must_use]
    pub fn with_usual(mut self, usual: Duration) -> Self {
        self.usual = usual;
        self
    }

    /// The time of a call.
    pub(super) fn of(&self, asked: Option<Duration>, sla: Option<Sla>) -> Duration {
        let time = match (asked, sla) {
            (Some(asked), _) => asked,
            (None, Some(sla)) => (sla.p95 * self.factor).max(self.least),
            (None, None) => self.usual,
        };
        time.min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_goes_before_the_sla() {
        let ms = Duration::from_millis;
        let sla = |p95| Some(Sla { mean: ms(1), p95: ms(p95) });
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.of(Some(ms(5)), sla(500)), ms(5));
        assert_eq!(timeouts.of(None, sla(500)), ms(2000));
        assert_eq!(timeouts.of(None, sla(10)), ms(1000));
        assert_eq!(timeouts.of(None, None), ms(10_000));
        assert_eq!(timeouts.of(Some(ms(90_000)), None), ms(60_000));
    }
}
