//! Whether the process behind a membership still does anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use registry_api::{Clock, Timestamp};
use tokio::task::JoinHandle;

/// A sign of life of the application's runtime, written there and read by the
/// thread that beats.
///
/// A runtime that is busy for a while is alive, and its lease is kept. One that
/// has not run anything for `limit` will not answer calls either: keeping its
/// lease would send callers to a dead process for ever.
#[derive(Debug)]
pub(crate) struct Pulse {
    last: AtomicU64,
    limit: Duration,
    told: AtomicBool,
}

/// Ends the pulse with its client.
#[derive(Debug)]
pub(crate) struct Pulsing(JoinHandle<()>);

impl Pulse {
    /// Begins to pulse on the caller's runtime.
    pub(crate) fn start(clock: Arc<dyn Clock>, limit: Duration) -> (Arc<Self>, Pulsing) {
        let last = AtomicU64::new(clock.now().as_nanos());
        let pulse = Arc::new(Self { last, limit, told: AtomicBool::new(false) });
        let beating = Arc::clone(&pulse);
        let every = limit / 8;
        let task = tokio::spawn(async move {
            loop {
                beating.last.store(clock.now().as_nanos(), Ordering::Relaxed);
                clock.sleep_until(clock.now() + every).await;
            }
        });
        (pulse, Pulsing(task))
    }

    /// Whether nothing has run there for too long, which is never shorter than
    /// `least`; said once in the log.
    pub(super) fn is_stuck(&self, now: Timestamp, least: Duration) -> bool {
        let last = Timestamp::from_nanos(self.last.load(Ordering::Relaxed));
        let silent = now.since(last);
        let stuck = silent > self.limit.max(least);
        if stuck != self.told.swap(stuck, Ordering::Relaxed) {
            match stuck {
                true => tracing::error!(
                    ?silent,
                    "the application's runtime is stuck: its instances are no longer kept alive"
                ),
                false => tracing::info!("the application's runtime runs again"),
            }
        }
        stuck
    }
}

impl Drop for Pulsing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
