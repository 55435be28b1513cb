//! The registry over wires of its own: a backend behind a service of this
//! project, over pipes that can be cut.

// Each test program uses its part.
#![allow(dead_code)]

mod amqp;
mod elsewhere;
mod grpc;
mod memory;
mod pipes;
mod real;
mod real_memory;
mod thrift;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use conformance_tests::{Absent, Link, Target};
use portolan::access::{Access, Credential};
use portolan::{Clock, Namespace, OpenAccess, Registry, Result};

use self::memory::MemoryTarget;
use self::real::RealTarget;
use self::real_memory::RealMemory;
use crate::sql::SqliteTarget;

/// What is served, by namespace, and who may ask for it.
pub(crate) struct Registries {
    pub(crate) access: Arc<dyn Access>,
    pub(crate) spaces: Vec<(Namespace, Arc<dyn Registry>)>,
}

impl Registries {
    /// For everybody.
    fn open(spaces: Vec<(Namespace, Arc<dyn Registry>)>) -> Self {
        Self { access: Arc::new(OpenAccess), spaces }
    }

    /// The default namespace, for those that `access` lets in.
    fn behind(access: Arc<dyn Access>, registry: Arc<dyn Registry>) -> Self {
        Self { access, spaces: vec![(Namespace::default(), registry)] }
    }
}

/// A wire that carries the registry.
#[async_trait]
pub(crate) trait Carrier: Debug + Send + Sync {
    /// Serves over what can be cut.
    async fn serve(&self, registries: Registries, link: Link) -> Result<Box<dyn Served>, Absent>;

    /// Serves over sockets, until what is returned is dropped; says where.
    async fn listen(&self, registries: Registries) -> (String, Box<dyn Send>);

    /// A handle on what is served there.
    async fn open(&self, at: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>>;
}

/// What is served over what can be cut, and the way to it.
#[async_trait]
pub(crate) trait Served: Send + Sync {
    /// A handle for whoever shows this credential.
    async fn open(
        &self,
        namespace: &Namespace,
        credential: Credential,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>>;
}

/// What is served to those who prove who they are, until this is dropped.
#[derive(Default)]
pub(crate) struct Closed(Mutex<Vec<Box<dyn Served>>>);

impl Closed {
    /// Serves, and opens a handle for whoever shows this credential.
    async fn open(
        &self,
        (carrier, link): (&dyn Carrier, &Link),
        registries: Registries,
        credential: Credential,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>> {
        let served = carrier.serve(registries, link.clone()).await;
        let served = served.expect("what was served once");
        let handle = served.open(&Namespace::default(), credential, clock).await;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(served);
        handle
    }
}

const NAMESPACES: [&str; 2] = ["default", "elsewhere"];

/// Backends of this process over every wire. The memory backend has virtual time where
/// the wire is in this process too.
pub(crate) fn targets() -> Vec<Arc<dyn Target>> {
    let mut targets = Vec::new();
    for (wire, carrier) in carriers() {
        targets.push(over("sqlite", Arc::new(SqliteTarget), wire, &carrier));
        targets.push(match wire {
            "amqp" => over("memory", Arc::new(RealMemory), wire, &carrier),
            _ => Arc::new(MemoryTarget { name: format!("memory/{wire}"), carrier }),
        });
    }
    targets
}

/// Each of these over every wire.
pub(crate) fn product(backends: &[Arc<dyn Target>]) -> Vec<Arc<dyn Target>> {
    let carriers = carriers();
    let each = carriers.iter().flat_map(|(wire, carrier)| {
        backends.iter().map(|backend| over(backend.name(), Arc::clone(backend), wire, carrier))
    });
    each.collect()
}

fn carriers() -> [(&'static str, Arc<dyn Carrier>); 3] {
    [
        ("thrift", Arc::new(thrift::Thrift)),
        ("grpc", Arc::new(grpc::Grpc)),
        ("amqp", Arc::new(amqp::Amqp::default())),
    ]
}

fn over(
    backend: &str,
    inner: Arc<dyn Target>,
    wire: &str,
    carrier: &Arc<dyn Carrier>,
) -> Arc<dyn Target> {
    let name = format!("{backend}/{wire}");
    Arc::new(RealTarget { name, inner, carrier: Arc::clone(carrier) })
}
