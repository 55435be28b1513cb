//! A clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{Clock, Timestamp};
use tokio::sync::watch;

/// Virtual time for a current-thread runtime: it stands still until
/// [`advance`](Self::advance) moves it, and stops on the way wherever somebody
/// waits, so that nothing happens late.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Deadlines somebody waits for, and how many do.
    waiting: BTreeMap<Timestamp, usize>,
    /// What a wall clock would say, in seconds; only mutants look at it.
    wall_seconds: i64,
}

/// How many turns every task gets to react to a step of the clock. The longest
/// chain of reactions in a backend is shorter by far.
const TURNS: usize = 64;

impl ManualClock {
    /// A clock that stands at its start.
    pub fn new() -> Self {
        Self { now: watch::Sender::new(Timestamp::ZERO), shared: Arc::default() }
    }

    /// Moves the time on, deadline by deadline, letting everybody react.
    pub async fn advance(&self, duration: Duration) {
        let target = self.now() + duration;
        settle().await;
        while let Some(next) = self.next_deadline(target) {
            self.now.send_replace(next);
            settle().await;
        }
        self.now.send_replace(target);
        settle().await;
        self.shared().wall_seconds += duration.as_secs() as i64;
    }

    /// Moves the time on at once, for a case whose runtime is blocked: only
    /// other threads can react.
    pub fn leap(&self, duration: Duration) {
        self.now.send_modify(|now| *now = *now + duration);
    }

    /// What a wall clock says, in seconds. Nothing correct reads it.
    pub fn wall_seconds(&self) -> i64 {
        self.shared().wall_seconds
    }

    /// Makes the wall clock jump.
    pub fn jump_wall_clock(&self, seconds: i64) {
        self.shared().wall_seconds += seconds;
    }

    fn next_deadline(&self, until: Timestamp) -> Option<Timestamp> {
        let now = self.now();
        let shared = self.shared();
        let next = shared.waiting.keys().find(|deadline| **deadline > now)?;
        (*next <= until).then_some(*next)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets every task that can run do so.
pub(crate) async fn settle() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let _waiting = Waiting::new(self, deadline);
        let mut now = self.now.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = now.wait_for(|now| *now >= deadline).await;
    }
}

/// An entry in the list of deadlines; leaves when dropped.
struct Waiting<'a> {
    clock: &'a ManualClock,
    deadline: Timestamp,
}

impl<'a> Waiting<'a> {
    fn new(clock: &'a ManualClock, deadline: Timestamp) -> Self {
        *clock.shared().waiting.entry(deadline).or_default() += 1;
        Self { clock, deadline }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut shared = self.clock.shared();
        if let Some(count) = shared.waiting.get_mut(&self.deadline) {
            *count -= 1;
            if *count == 0 {
                shared.waiting.remove(&self.deadline);
            }
        }
    }
}
