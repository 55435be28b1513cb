//! SQLite behind the registry's own Thrift service: in real time, over pipes that
//! can be cut.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use conformance_tests::{Absent, Link, Linked, Pace, Target, World};
use portolan::call::Handler;
use portolan::thrift::{RegistryHandler, RemoteOptions, ThriftHost, ThriftRegistry};
use portolan::{Info, LeaseTerms, Namespace, OpenAccess, Registry, Result, SystemClock};

use super::{NAMESPACES, Pipes, address};
use crate::sql::SqliteTarget;

/// SQLite, asked over Thrift.
#[derive(Debug)]
pub(crate) struct SqliteThriftTarget;

struct DurableWorld {
    inner: Box<dyn World>,
    link: Link,
    serving: Mutex<Serving>,
}

/// A host, and the way to it.
struct Serving {
    pipes: Pipes,
    _host: ThriftHost,
}

async fn serve(inner: &dyn World, link: &Link) -> Result<Serving> {
    let mut handler = RegistryHandler::new(Arc::new(OpenAccess));
    for name in NAMESPACES {
        let name = Namespace::parse(name)?;
        // Counts what reaches the backend; the cut is in the pipes.
        let registry = inner.handle(&name).await?;
        let metered = Linked::new(registry, link.meter(), Arc::new(SystemClock));
        handler = handler.with_namespace(name, Arc::new(metered));
    }
    let (pipes, listener) = Pipes::new(link.clone());
    let handler: Arc<dyn Handler> = Arc::new(handler);
    let (service, options) = (RegistryHandler::service(), RegistryHandler::host_options());
    let host = ThriftHost::serve_on(service, listener, address(), handler, options);
    Ok(Serving { pipes, _host: host })
}

async fn world(inner: Box<dyn World>) -> Result<Box<dyn World>, Absent> {
    let link = Link::new();
    let serving = serve(&*inner, &link).await.map_err(|error| Absent(error.to_string()))?;
    Ok(Box::new(DurableWorld { inner, link, serving: Mutex::new(serving) }))
}

#[async_trait]
impl Target for SqliteThriftTarget {
    fn name(&self) -> &str {
        "sqlite/thrift"
    }

    fn info(&self) -> Info {
        let described = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let world = Self.open().await.expect("a file can be opened");
                let handle = world.handle(&Namespace::default()).await;
                handle.expect("it opens").info().clone()
            })
        });
        described.join().expect("it opens")
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        world(SqliteTarget.open().await?).await
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        world(SqliteTarget.open_alone().await?).await
    }
}

#[async_trait]
impl World for DurableWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let options = RemoteOptions::new(address()).with_namespace(namespace.clone());
        let pipes = self.serving.lock().unwrap_or_else(PoisonError::into_inner).pipes.clone();
        ThriftRegistry::open(Arc::new(pipes), options, Arc::new(SystemClock)).await
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
        let again = serve(&*self.inner, &self.link).await.ok()?;
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = again;
        Some(())
    }

    async fn plant_junk(&self) -> Option<()> {
        self.inner.plant_junk().await
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.inner.jump_wall_clock(seconds)
    }
}
