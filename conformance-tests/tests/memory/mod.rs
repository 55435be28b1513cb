//! The memory backend as a target: virtual time, behind a link that can be cut.

use std::sync::Arc;

use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::{ManualClock, Store, VirtualTarget};
use registry_api::{Era, Namespace};

/// Short, so that cases about slow readers are quick.
const HISTORY: usize = 512;

fn store(clock: &ManualClock) -> Store {
    let options = MemoryOptions::new(Era(7)).with_history(HISTORY);
    let store = MemoryStore::new(Arc::new(clock.clone()), options);
    Arc::new(move |namespace: &Namespace| Ok(store.handle(namespace)))
}

pub(crate) fn target() -> VirtualTarget {
    VirtualTarget::new("memory", store)
}
