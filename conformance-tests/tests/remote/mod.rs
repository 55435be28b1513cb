//! The registry over wires of its own: a backend behind a service of this
//! project, over pipes that can be cut.

mod amqp;
mod elsewhere;
mod grpc;
mod memory;
mod pipes;
mod real;
mod real_memory;
mod thrift;

use std::fmt::Debug;
use std::sync::Arc;

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

const NAMESPACES: [&str; 2] = ["default", "elsewhere"];

/// Backends of this process over every wire. The memory backend has virtual time where
/// the wire is in this process too.
pub(crate) fn targets() -> Vec<Arc<dyn Target>> {
    let pipes: [(_, Arc<dyn Carrier>); 2] =
        [("thrift", Arc::new(thrift::Thrift)), ("grpc", Arc::new(grpc::Grpc))];
    let broker: Arc<dyn Carrier> = Arc::new(amqp::Amqp::default());
    let real = |backend: &str, inner: Arc<dyn Target>, wire: &str, carrier: &Arc<dyn Carrier>| {
        let carrier = Arc::clone(carrier);
        Arc::new(RealTarget { name: format!("{backend}/{wire}"), inner, carrier })
    };
    let mut targets: Vec<Arc<dyn Target>> = Vec::new();
    for (wire, carrier) in pipes {
        targets.push(real("sqlite", Arc::new(SqliteTarget), wire, &carrier));
        targets.push(Arc::new(MemoryTarget { name: format!("memory/{wire}"), carrier }));
    }
    targets.push(real("memory", Arc::new(RealMemory), "amqp", &broker));
    targets.push(real("sqlite", Arc::new(SqliteTarget), "amqp", &broker));
    targets
}
