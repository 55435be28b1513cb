//! A backend of this process behind a wire, in real time.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use conformance_tests::{Absent, Link, Linked, Pace, Target, World};
use portolan::access::{Access, Credential};
use portolan::{Info, LeaseTerms, Namespace, Registry, Result, SystemClock};

use super::{Carrier, Closed, NAMESPACES, Registries, Served};

/// A backend, asked over a wire.
#[derive(Clone, Debug)]
pub(crate) struct RealTarget {
    pub(crate) name: String,
    pub(crate) inner: Arc<dyn Target>,
    pub(crate) carrier: Arc<dyn Carrier>,
}

struct RealWorld {
    carrier: Arc<dyn Carrier>,
    inner: Box<dyn World>,
    link: Link,
    served: Mutex<Arc<dyn Served>>,
    closed: Closed,
}

async fn serve(
    carrier: &dyn Carrier,
    inner: &dyn World,
    link: &Link,
) -> Result<Arc<dyn Served>, Absent> {
    let failed = |error: portolan::Error| Absent(error.to_string());
    let mut registries: Vec<(_, Arc<dyn Registry>)> = Vec::new();
    for name in NAMESPACES {
        let name = Namespace::parse(name).map_err(failed)?;
        // Counts what reaches the backend; the cut is in the pipes.
        let registry = inner.handle(&name).await.map_err(failed)?;
        let metered = Linked::new(registry, link.meter(), Arc::new(SystemClock));
        registries.push((name, Arc::new(metered)));
    }
    Ok(carrier.serve(Registries::open(registries), link.clone()).await?.into())
}

impl RealTarget {
    async fn world(&self, inner: Box<dyn World>) -> Result<Box<dyn World>, Absent> {
        let (carrier, link) = (Arc::clone(&self.carrier), Link::new());
        let served = serve(&*carrier, &*inner, &link).await?;
        let (served, closed) = (Mutex::new(served), Closed::default());
        Ok(Box::new(RealWorld { carrier, inner, link, served, closed }))
    }
}

#[async_trait]
impl Target for RealTarget {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> Info {
        let target = self.clone();
        let described = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                // A wire that is absent says nothing, and is asked nothing.
                let Ok(world) = target.open().await else { return target.inner.info() };
                let handle = world.handle(&Namespace::default()).await;
                handle.expect("it opens").info().clone()
            })
        });
        described.join().expect("it opens")
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        self.world(self.inner.open().await?).await
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        self.world(self.inner.open_alone().await?).await
    }
}

#[async_trait]
impl World for RealWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let served = Arc::clone(&self.served.lock().unwrap_or_else(PoisonError::into_inner));
        served.open(namespace, Credential::none(), Arc::new(SystemClock)).await
    }

    async fn handle_as(
        &self,
        access: Arc<dyn Access>,
        credential: Credential,
    ) -> Result<Arc<dyn Registry>> {
        let registry = self.inner.handle(&Namespace::default()).await?;
        let (way, clock) = ((&*self.carrier, &self.link), Arc::new(SystemClock));
        self.closed.open(way, Registries::behind(access, registry), credential, clock).await
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
        let again = serve(&*self.carrier, &*self.inner, &self.link).await.ok()?;
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
