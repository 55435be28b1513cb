//! The policies of Hailo H2's own callers, for estates that go on with them.
//!
//! Facts: HailoOSS `platform` at 39e911a, `client/client.go`, `client/timeout.go`,
//! `circuit/`.

use std::time::Duration;

use super::{Breaker, ChannelOptions, Retry, Timeouts};

impl Timeouts {
    /// H2's: an attempt waits the endpoint's 95th percentile, its second one twice and
    /// its third one three times as long, so a call has six times. Where no SLA is
    /// known, two seconds are meant. An attempt has 10 ms at least and a minute at most.
    pub fn h2() -> Self {
        Self {
            usual: Duration::from_secs(12),
            factor: 6,
            least: Duration::from_millis(60),
            most: Duration::from_secs(180),
        }
    }
}

impl Breaker {
    /// H2's thresholds: 95 % of at least 100 calls within 10 s; 100 ms, up to a minute.
    pub fn h2() -> Self {
        Self {
            percent: 95,
            calls: 100,
            window: Duration::from_secs(10),
            first: Duration::from_millis(100),
            longest: Duration::from_secs(60),
        }
    }
}

impl ChannelOptions {
    /// As H2's own callers: its times and its breaker, nothing repeated by the channel,
    /// nobody ejected. The wire repeats what is not answered, whatever it does:
    /// `Sending::Classic` of the AMQP caller belongs to it. A call may be run three
    /// times, which [`Retry`] would not let happen.
    pub fn h2_classic() -> Self {
        Self {
            timeouts: Timeouts::h2(),
            retry: Retry::never(),
            hedge: None,
            ejection: None,
            breaker: Some(Breaker::h2()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_api::Sla;

    use super::*;

    #[test]
    fn calls_have_six_times_the_sla() {
        let ms = Duration::from_millis;
        let sla = |p95| Some(Sla { mean: ms(1), p95: ms(p95) });
        let times = ChannelOptions::h2_classic().timeouts;
        assert_eq!(times.of(None, sla(500)), ms(3_000));
        assert_eq!(times.of(None, sla(1)), ms(60));
        assert_eq!(times.of(None, sla(60_000)), ms(180_000));
        assert_eq!(times.of(None, None), ms(12_000));
    }
}
