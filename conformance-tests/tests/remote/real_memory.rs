//! The memory backend in real time, for wires whose other end has a clock of its own.

use std::sync::Arc;

use async_trait::async_trait;
use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::{Absent, Pace, Target, World};
use portolan::{Era, Info, Namespace, Registry, Result, SystemClock};

/// Short, so that cases about slow readers are quick.
const HISTORY: usize = 512;

#[derive(Debug)]
pub(super) struct RealMemory;

struct RealWorld(MemoryStore);

fn store() -> MemoryStore {
    let options = MemoryOptions::new(Era(7)).with_history(HISTORY);
    MemoryStore::new(Arc::new(SystemClock), options)
}

#[async_trait]
impl Target for RealMemory {
    fn name(&self) -> &str {
        "memory in real time"
    }

    fn info(&self) -> Info {
        store().handle(&Namespace::default()).info().clone()
    }

    async fn open(&self) -> std::result::Result<Box<dyn World>, Absent> {
        Ok(Box::new(RealWorld(store())))
    }
}

#[async_trait]
impl World for RealWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        Ok(self.0.handle(namespace))
    }

    fn pace(&self) -> Pace {
        Pace::Real(Arc::new(SystemClock))
    }

    /// There is none that could: this process's clock is the only one that anybody
    /// reads, and it is no wall clock.
    fn jump_wall_clock(&self, _seconds: i64) -> Option<()> {
        Some(())
    }
}
