//! The memory backend behind a wire, in virtual time.

use std::sync::Arc;

use async_trait::async_trait;
use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::{Absent, Handles, Link, Linked, ManualClock, Pace, Target, World};
use portolan::access::{Access, Credential};
use portolan::{Era, Info, Namespace, Registry, Result};

use super::elsewhere::Elsewhere;
use super::{Carrier, Closed, NAMESPACES, Registries, Served};

/// The memory backend, asked over a wire.
#[derive(Debug)]
pub(crate) struct MemoryTarget {
    pub(crate) name: String,
    pub(crate) carrier: Arc<dyn Carrier>,
}

struct RemoteWorld {
    carrier: Arc<dyn Carrier>,
    clock: ManualClock,
    link: Link,
    store: MemoryStore,
    served: Box<dyn Served>,
    closed: Closed,
}

/// Short, so that cases about slow readers are quick.
const HISTORY: usize = 512;

impl MemoryTarget {
    async fn world(&self) -> Result<RemoteWorld, Absent> {
        let (clock, link) = (ManualClock::new(), Link::new());
        let options = MemoryOptions::new(Era(7)).with_history(HISTORY);
        let store = MemoryStore::new(Arc::new(clock.clone()), options);
        let registries = NAMESPACES.map(|name| {
            let name = Namespace::parse(name).expect("a namespace");
            // Counts what reaches the backend; the cut is in the pipes.
            let time = Arc::new(clock.clone());
            let metered = Linked::new(store.handle(&name), link.meter(), time);
            (name, Arc::new(metered) as Arc<dyn Registry>)
        });
        let registries = Registries::open(registries.into());
        let served = self.carrier.serve(registries, link.clone()).await?;
        let (carrier, closed) = (Arc::clone(&self.carrier), Closed::default());
        Ok(RemoteWorld { carrier, clock, link, store, served, closed })
    }
}

#[async_trait]
impl Target for MemoryTarget {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> Info {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let world = self.world().await.expect("pipes are always there");
            let handle = world.handle(&Namespace::default()).await;
            handle.expect("it opens").info().clone()
        })
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        Ok(Box::new(self.world().await?))
    }
}

#[async_trait]
impl World for RemoteWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let clock = Arc::new(self.clock.clone());
        self.served.open(namespace, Credential::none(), clock).await
    }

    async fn handle_as(
        &self,
        access: Arc<dyn Access>,
        credential: Credential,
    ) -> Result<Arc<dyn Registry>> {
        let registries = Registries::behind(access, self.store.handle(&Namespace::default()));
        let (way, clock) = ((&*self.carrier, &self.link), Arc::new(self.clock.clone()));
        self.closed.open(way, registries, credential, clock).await
    }

    fn pace(&self) -> Pace {
        Pace::Manual(self.clock.clone())
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    /// Over real sockets, since the pipes end on the case's runtime.
    fn handles(&self) -> Option<Arc<dyn Handles>> {
        let registry = self.store.handle(&Namespace::default());
        Some(Arc::new(Elsewhere::serve(
            Arc::clone(&self.carrier),
            registry,
            Arc::new(self.clock.clone()),
        )))
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.clock.jump_wall_clock(seconds);
        Some(())
    }
}
