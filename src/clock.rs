//! Real time: the one reader of the process's monotonic clock.

use std::sync::OnceLock;

use async_trait::async_trait;
use registry_api::{Clock, Timestamp};
use tokio::time::Instant;

/// The monotonic clock of this process. All instances agree.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// What this process calls zero; a constant once it is read, not state.
static START: OnceLock<Instant> = OnceLock::new();

impl SystemClock {
    #[allow(clippy::disallowed_methods)] // This is the one reader.
    fn instant() -> Instant {
        Instant::now()
    }

    fn start() -> Instant {
        *START.get_or_init(Self::instant)
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let start = Self::start();
        let passed = Self::instant().saturating_duration_since(start);
        Timestamp::ZERO + passed
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        // A timer rounds up to a whole millisecond, also one that is due.
        if self.now() >= deadline {
            return;
        }
        let passed = std::time::Duration::from_nanos(deadline.as_nanos());
        match Self::start().checked_add(passed) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await, // Beyond what the platform can count.
        }
    }
}
