//! The memory backend as a target: virtual time, behind a link that can be cut.

use std::sync::Arc;

use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::ManualClock;
use conformance_tests::mutants::{Mutant, MutantTarget, Store};
use registry_api::{Era, Info, Namespace};

/// Short, so that cases about slow readers are quick.
const HISTORY: usize = 512;

fn store(clock: &ManualClock) -> Store {
    let options = MemoryOptions::new(Era(7)).with_history(HISTORY);
    let store = MemoryStore::new(Arc::new(clock.clone()), options);
    Arc::new(move |namespace: &Namespace| Ok(store.handle(namespace)))
}

/// What the backend says about itself.
fn info() -> Info {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let store = store(&ManualClock::new());
    runtime.block_on(async {
        store(&Namespace::default())
            .expect("memory opens")
            .info()
            .clone()
    })
}

#[allow(dead_code)] // Each test binary uses one of the two.
pub(crate) fn target() -> MutantTarget {
    MutantTarget::new("memory", info(), None, store)
}

#[allow(dead_code)]
pub(crate) fn mutant(mutant: Mutant) -> MutantTarget {
    MutantTarget::new(mutant.name, info(), Some(mutant), store)
}
