//! One namespace: a published state, its leases and its watchers.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use arc_swap::ArcSwap;
use registry_api::kernel::{Command, Hub, LeaseTable, Outcome, State};
use registry_api::{Clock, InstanceId, Published, Timestamp};

use crate::MemoryOptions;
use crate::sweeper::Sweeper;

/// Readers load the state; writers take turns, work on a clone and swap it in.
pub(crate) struct Space {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leases: LeaseTable<RandomState>,
    hub: Arc<Hub>,
    state: ArcSwap<State>,
    turn: Mutex<()>,
    sweeper: Sweeper,
}

impl Space {
    pub(crate) fn start(clock: Arc<dyn Clock>, options: MemoryOptions) -> Arc<Self> {
        Arc::new_cyclic(|space| Self {
            leases: LeaseTable::with_hasher(RandomState::new()),
            hub: Arc::default(),
            state: ArcSwap::from_pointee(State::new(options.era, options.history)),
            turn: Mutex::new(()),
            sweeper: Sweeper::spawn(space.clone(), Arc::clone(&clock)),
            clock,
        })
    }

    /// Applies one write about the instances `ids`. `before_publish` runs while
    /// nobody sees the new state yet and returns the first deadline it set, if it
    /// set one; `after_publish` runs when everybody sees it.
    pub(crate) fn write<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a InstanceId>,
        command: Command,
        before_publish: impl FnOnce(&Outcome, Timestamp) -> Option<Timestamp>,
        after_publish: impl FnOnce(),
    ) -> Outcome {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let before = self.state.load();
        let mut state = State::clone(&before);
        state.settle(self.leases.expire(ids, now));
        let outcome = state.write(command);
        let deadline = before_publish(&outcome, now);
        self.publish(&before, state);
        after_publish();
        if let Some(deadline) = deadline {
            self.sweeper.wake_if_later_than(deadline);
        }
        drop(turn);
        outcome
    }

    /// Delists who is gone and tells who is offline or back. Returns when to
    /// come again, if nobody wakes the sweeper before.
    pub(crate) fn sweep(&self) -> Option<Timestamp> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let sweep = self.leases.sweep(self.clock.now());
        if !sweep.transitions.is_empty() {
            let before = self.state.load();
            let mut state = State::clone(&before);
            if state.settle(sweep.transitions) {
                self.publish(&before, state);
            }
        }
        self.sweeper.plan(sweep.next);
        sweep.next
    }

    /// An instance came back to life: its watchers should hear of it now.
    pub(crate) fn revived(&self) {
        self.sweeper.wake();
    }

    fn publish(&self, before: &State, state: State) {
        let state = Arc::new(state);
        self.state.store(Arc::clone(&state));
        self.hub.wake(state.touched_since(before));
    }
}

impl Published for Space {
    fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").finish_non_exhaustive()
    }
}
