//! Calls at a steady rate, and what became of them.

use std::fmt::{self, Display};
use std::time::Duration;

use portolan::call::Call;
use portolan::{Channel, Clock, SystemClock, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// One call each.
const EVERY: Duration = Duration::from_millis(2);

/// What became of one call.
struct Ended {
    took: Duration,
    failed_at: Option<Timestamp>,
}

/// Calls under way, until they are counted.
pub(crate) struct Load {
    calls: JoinSet<Ended>,
    begun: u64,
    fault_at: Timestamp,
}

/// What was counted.
pub(crate) struct Figures {
    calls: usize,
    failed: usize,
    attempts: f64,
    p50: Duration,
    p99: Duration,
    failing: Duration,
}

impl Load {
    pub(crate) fn new(channel: &Channel) -> Self {
        let begun = channel.counters().attempts.get();
        Self { calls: JoinSet::new(), begun, fault_at: SystemClock.now() }
    }

    /// The fault begins now.
    pub(crate) fn fault(&mut self) {
        self.fault_at = SystemClock.now();
    }

    /// Calls for so long.
    pub(crate) async fn drive(&mut self, channel: &Channel, call: &Call, long: Duration) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = SystemClock.now() + long;
        while SystemClock.now() < end {
            ticks.tick().await;
            let (channel, call) = (channel.clone(), call.clone());
            self.calls.spawn(async move {
                let begun = SystemClock.now();
                let failed = channel.call(call).await.is_err();
                let now = SystemClock.now();
                Ended { took: now.since(begun), failed_at: failed.then_some(now) }
            });
        }
    }

    pub(crate) async fn figures(self, channel: &Channel) -> Figures {
        let mut ended = self.calls.join_all().await;
        ended.sort_by_key(|ended| ended.took);
        let at = |part: usize| ended[(ended.len() * part / 100).min(ended.len() - 1)].took;
        let failures: Vec<_> = ended.iter().filter_map(|ended| ended.failed_at).collect();
        let last = failures.iter().max().copied().unwrap_or(self.fault_at);
        let attempts = channel.counters().attempts.get() - self.begun;
        Figures {
            calls: ended.len(),
            failed: failures.len(),
            attempts: attempts as f64 / ended.len() as f64,
            p50: at(50),
            p99: at(99),
            failing: last.since(self.fault_at),
        }
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:>6} {:>6} {:>9.3} {:>9.1} {:>9.1} {:>10.0}",
            self.calls,
            self.failed,
            self.attempts,
            ms(self.p50),
            ms(self.p99),
            ms(self.failing)
        )
    }
}
