//! SQLite behind a wire, in real time.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use conformance_tests::{Absent, Link, Linked, Pace, Target, World};
use portolan::{Info, LeaseTerms, Namespace, Registry, Result, SystemClock};

use super::{Carrier, NAMESPACES, Served};
use crate::sql::SqliteTarget;

/// SQLite, asked over a wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurableTarget {
    pub(crate) name: &'static str,
    pub(crate) carrier: &'static dyn Carrier,
}

struct DurableWorld {
    carrier: &'static dyn Carrier,
    inner: Box<dyn World>,
    link: Link,
    served: Mutex<Arc<dyn Served>>,
}

async fn serve(carrier: &dyn Carrier, inner: &dyn World, link: &Link) -> Result<Arc<dyn Served>> {
    let mut registries: Vec<(_, Arc<dyn Registry>)> = Vec::new();
    for name in NAMESPACES {
        let name = Namespace::parse(name)?;
        // Counts what reaches the backend; the cut is in the pipes.
        let registry = inner.handle(&name).await?;
        let metered = Linked::new(registry, link.meter(), Arc::new(SystemClock));
        registries.push((name, Arc::new(metered)));
    }
    Ok(carrier.serve(registries, link.clone()).into())
}

impl DurableTarget {
    async fn world(&self, inner: Box<dyn World>) -> Result<Box<dyn World>, Absent> {
        let (carrier, link) = (self.carrier, Link::new());
        let served = serve(carrier, &*inner, &link).await;
        let served = served.map_err(|error| Absent(error.to_string()))?;
        Ok(Box::new(DurableWorld { carrier, inner, link, served: Mutex::new(served) }))
    }
}

#[async_trait]
impl Target for DurableTarget {
    fn name(&self) -> &str {
        self.name
    }

    fn info(&self) -> Info {
        let target = *self;
        let described = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let world = target.open().await.expect("a file can be opened");
                let handle = world.handle(&Namespace::default()).await;
                handle.expect("it opens").info().clone()
            })
        });
        described.join().expect("it opens")
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        self.world(SqliteTarget.open().await?).await
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        self.world(SqliteTarget.open_alone().await?).await
    }
}

#[async_trait]
impl World for DurableWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let served = Arc::clone(&self.served.lock().unwrap_or_else(PoisonError::into_inner));
        served.open(namespace, Arc::new(SystemClock)).await
    }

    fn pace(&self) -> Pace {
        Pace::Real(Arc::new(SystemClock))
    }

    fn terms(&self) -> LeaseTerms {
        self.inner.terms()
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    /// Whoever serves dies with its files' writers, and is started again.
    async fn kill_and_restart(&self) -> Option<()> {
        self.inner.kill_and_restart().await?;
        let again = serve(self.carrier, &*self.inner, &self.link).await.ok()?;
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = again;
        Some(())
    }

    async fn plant_junk(&self) -> Option<()> {
        self.inner.plant_junk().await
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.inner.jump_wall_clock(seconds)
    }
}
