//! What readers and watchers of this process see, and the leases it keeps.

use std::fmt::{self, Debug};
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use registry_api::kernel::{Hub, LeaseTable, State};
use registry_api::{Applied, Clock, Era, Error, Published, Query, Result, Timestamp, View};

use crate::fault::again;

/// The published copy of the log's registry, and who is alive in it.
pub(crate) struct Replica {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leases: LeaseTable<RandomState>,
    state: ArcSwap<State>,
    hub: Arc<Hub>,
    /// Everything that was confirmed before this time has been heard, in
    /// nanoseconds: leases are judged at no later one.
    horizon: AtomicU64,
    /// Why this process cannot go on for ever.
    refusal: OnceLock<Error>,
    skipped: AtomicU64,
}

impl Replica {
    pub(crate) fn new(clock: Arc<dyn Clock>, history: usize) -> Self {
        Self {
            clock,
            leases: LeaseTable::with_hasher(RandomState::new()),
            state: ArcSwap::from_pointee(State::new(Era(0), history)),
            hub: Arc::default(),
            horizon: AtomicU64::new(0),
            refusal: OnceLock::new(),
            skipped: AtomicU64::new(0),
        }
    }

    /// The time until which everything has been heard.
    pub(crate) fn horizon(&self) -> Timestamp {
        Timestamp::from_nanos(self.horizon.load(Ordering::Acquire))
    }

    /// Everything has been heard that was confirmed before `time`.
    pub(crate) fn has_heard(&self, time: Timestamp) {
        self.horizon.fetch_max(time.as_nanos(), Ordering::AcqRel);
    }

    /// A read of the registry as it is here.
    pub(crate) fn read(&self, query: &Query) -> Result<View> {
        self.state.load().read(query, &self.leases, self.horizon())
    }

    /// Shows another state, which follows on the one that is shown.
    pub(crate) fn show(&self, state: State) {
        let state = Arc::new(state);
        let before = self.state.swap(Arc::clone(&state));
        self.hub.wake(state.touched_since(&before));
    }

    /// Shows a state that does not: watchers begin anew.
    pub(crate) fn replace(&self, state: State) {
        self.state.store(Arc::new(state));
        self.hub.wake_all();
    }

    /// Nothing will be heard any more.
    pub(crate) fn refuse(&self, error: Error) {
        tracing::error!(%error, "the registry cannot be followed any more");
        let _ = self.refusal.set(error); // The first reason counts.
        self.hub.wake_all();
    }

    /// Notes a message that could not be understood, and was passed over.
    pub(crate) fn skip(&self, place: &dyn fmt::Display) {
        let total = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        // A hostile hand must not fill the log of this process too.
        if total <= 10 || total.is_power_of_two() {
            tracing::warn!(%place, total, "a message cannot be understood; passed over");
        }
    }
}

impl Published for Replica {
    fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn heard(&self) -> Timestamp {
        self.horizon()
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.get().map(|error| again(error, Applied::No))
    }
}

impl Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replica")
    }
}
