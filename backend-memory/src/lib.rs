//! The in-memory backend: the reference for all others.
//!
//! Kernel parts and one timer task per namespace. A resolve never waits for a
//! writer: it reads an immutable snapshot that writers replace. Nothing is
//! durable, and one process is all there is; every other guarantee of
//! `docs/SPEC.md` holds exactly.
//!
//! What it is not: a cache, or a store to share between processes.

mod registry;
mod space;
mod sweeper;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use registry_api::{Clock, Era, Guard, Namespace, Registry};

pub use crate::registry::MemoryRegistry;
use crate::space::Space;

/// The store behind any number of handles, one world per namespace.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    spaces: Arc<Mutex<HashMap<Namespace, Arc<Space>>>>,
    options: MemoryOptions,
}

/// How a [`MemoryStore`] is set up.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// How many events the history keeps for slow and resuming watchers.
    pub history: usize,
    /// Identifies this store's history; must differ between restarts.
    pub era: Era,
}

impl MemoryOptions {
    /// A history of 16,384 events under the given era.
    pub const fn new(era: Era) -> Self {
        Self { history: 16_384, era }
    }

    /// Sets the length of the history in events.
    #[must_use]
    pub const fn with_history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }
}

impl MemoryStore {
    /// An empty store that judges leases by `clock`.
    pub fn new(clock: Arc<dyn Clock>, options: MemoryOptions) -> Self {
        Self { clock, spaces: Arc::default(), options }
    }

    /// A handle on one namespace.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: the first handle of a namespace spawns its timer.
    pub fn handle(&self, namespace: &Namespace) -> Arc<dyn Registry> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let space = spaces
            .entry(namespace.clone())
            .or_insert_with(|| Space::start(Arc::clone(&self.clock), self.options));
        Guard::shared(MemoryRegistry::new(Arc::clone(space), self.options.history))
    }
}

impl Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("options", &self.options).finish_non_exhaustive()
    }
}
