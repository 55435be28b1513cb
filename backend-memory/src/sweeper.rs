//! The one task of a namespace: sweeps when a judgement may have changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use registry_api::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::space::Space;

/// The shortest time between two sweeps, so that a million leases that end one
/// after the other do not keep a core busy.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Owns the task; dropping it ends the task.
pub(crate) struct Sweeper {
    task: JoinHandle<()>,
    wake: Arc<Notify>,
    /// When it comes next by itself, in nanoseconds. Written and read by whoever
    /// has the turn to write.
    planned: AtomicU64,
}

impl Sweeper {
    pub(crate) fn spawn(space: Weak<Space>, clock: Arc<dyn Clock>) -> Self {
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(run(space, clock, Arc::clone(&wake)));
        Self { task, wake, planned: AtomicU64::new(u64::MAX) }
    }

    /// Notes when it comes next; `None` is never.
    pub(crate) fn plan(&self, next: Option<Timestamp>) {
        let nanos = next.map_or(u64::MAX, Timestamp::as_nanos);
        self.planned.store(nanos, Ordering::Relaxed);
    }

    /// A lease was granted that ends at `deadline`: look again if that would be
    /// missed. Most leases end later than the next sweep, and most writes cost none.
    pub(crate) fn wake_if_later_than(&self, deadline: Timestamp) {
        if self.planned.load(Ordering::Relaxed) > deadline.as_nanos() {
            self.wake();
        }
    }

    /// An instance revived: look again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(space: Weak<Space>, clock: Arc<dyn Clock>, wake: Arc<Notify>) {
    // Nothing can be due before the first write wakes this task.
    wake.notified().await;
    loop {
        let Some(next) = space.upgrade().map(|space| space.sweep()) else {
            return;
        };
        let rested = clock.now() + MIN_INTERVAL;
        tokio::select! {
            () = due(&*clock, next) => {}
            () = wake.notified() => {}
        }
        // A revival is told at once; only what time brings has to queue.
        if next.is_some_and(|next| next <= clock.now()) {
            clock.sleep_until(rested).await;
        }
    }
}

async fn due(clock: &dyn Clock, next: Option<Timestamp>) {
    match next {
        Some(next) => clock.sleep_until(next).await,
        None => std::future::pending().await,
    }
}
