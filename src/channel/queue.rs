//! How many calls a channel makes at a time, and how many wait for that.

use std::sync::atomic::{AtomicUsize, Ordering};

use registry_api::call::CallError;
use registry_api::{Clock, ErrorKind, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The bounds of a channel.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Queue {
    /// The most calls in flight.
    pub in_flight: usize,
    /// The most calls that wait for one of those to end; what is beyond is
    /// refused as `Overloaded`. A queue this long is empty again within the
    /// time of one call.
    pub waiting: usize,
}

impl Default for Queue {
    /// 1,024 in flight, 1,024 waiting.
    fn default() -> Self {
        Self { in_flight: 1024, waiting: 1024 }
    }
}

impl Queue {
    /// Bounds of these sizes.
    pub fn new(in_flight: usize, waiting: usize) -> Self {
        Self { in_flight: in_flight.clamp(1, Semaphore::MAX_PERMITS), waiting }
    }
}

/// The queue at work.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Gate {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            slots: Semaphore::new(queue.in_flight),
            waiting: AtomicUsize::new(0),
            most_waiting: queue.waiting,
        }
    }

    /// A place among those in flight, in order of arrival.
    pub(super) async fn enter(
        &self,
        clock: &dyn Clock,
        deadline: Timestamp,
    ) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _waiting = Waiting::join(self).ok_or_else(|| {
            overloaded("too many calls of this service are in flight and waiting")
        })?;
        tokio::select! {
            biased;
            slot = self.slots.acquire() => slot.map_err(|_| overloaded("the channel is closed")),
            () = clock.sleep_until(deadline) => {
                let reason = "the deadline came before the call's turn";
                Err(CallError::new(ErrorKind::Timeout.into(), reason).not_run())
            }
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(gate: &'a Gate) -> Option<Self> {
        let waiting = Self(&gate.waiting);
        // Its drop takes back a place that is one too many.
        (gate.waiting.fetch_add(1, Ordering::Relaxed) < gate.most_waiting).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn overloaded(reason: &str) -> CallError {
    CallError::new(ErrorKind::Overloaded.into(), reason)
}
