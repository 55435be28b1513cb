//! The registry over wires of its own: a backend behind a service of this
//! project, over pipes that can be cut.

mod durable;
mod elsewhere;
mod grpc;
mod memory;
mod pipes;
mod thrift;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::Link;
use portolan::{Clock, Namespace, Registry, Result};

pub(crate) use self::durable::DurableTarget;
pub(crate) use self::memory::MemoryTarget;

/// What is served, by namespace.
pub(crate) type Registries = Vec<(Namespace, Arc<dyn Registry>)>;

/// A wire that carries the registry.
#[async_trait]
pub(crate) trait Carrier: Debug + Send + Sync {
    /// Serves over pipes.
    fn serve(&self, registries: Registries, link: Link) -> Box<dyn Served>;

    /// Serves over sockets, until what is returned is dropped.
    async fn listen(&self, registries: Registries) -> (SocketAddr, Box<dyn Send>);

    /// A handle on what is served at a socket.
    async fn open(&self, at: SocketAddr, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>>;
}

/// What is served over pipes, and the way to it.
#[async_trait]
pub(crate) trait Served: Send + Sync {
    async fn open(&self, namespace: &Namespace, clock: Arc<dyn Clock>)
    -> Result<Arc<dyn Registry>>;
}

const NAMESPACES: [&str; 2] = ["default", "elsewhere"];

pub(crate) const GRPC: &dyn Carrier = &grpc::Grpc;
pub(crate) const THRIFT: &dyn Carrier = &thrift::Thrift;
