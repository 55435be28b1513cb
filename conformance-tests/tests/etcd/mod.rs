//! etcd as a target: in real time, on private servers, behind connections that
//! can be cut.

// Each test program uses its part.
#![allow(dead_code, unused_imports)]

mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use backend_etcd::{EtcdOptions, EtcdRegistry};
use conformance_tests::servers::{Recipe, Server, etcd_cluster};
use conformance_tests::{Absent, Link, Linked, Target, World};
use portolan::{Capabilities, Capability, Info, Limits, Namespace, Registry, Result, SystemClock};

pub(crate) use self::world::{EtcdWorld, random};

/// Short, so that cases about slow readers are quick.
pub(crate) const HISTORY: usize = 512;

/// One cluster for all cases that do it no harm.
#[derive(Debug)]
pub(crate) struct EtcdTarget {
    name: &'static str,
    members: usize,
    /// Another etcd than the system's, if it has been built.
    program: Option<PathBuf>,
    shared: OnceLock<Result<Arc<Vec<Server>>, Absent>>,
}

impl EtcdTarget {
    pub(crate) fn single() -> Self {
        Self { name: "etcd", members: 1, program: None, shared: OnceLock::new() }
    }

    /// The current etcd, built from its module beside the interop peers.
    pub(crate) fn current() -> Self {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/interop/etcd/etcd");
        Self { name: "etcd/current", program: Some(built), ..Self::single() }
    }

    pub(crate) fn cluster() -> Self {
        Self { name: "etcd/cluster", members: 3, ..Self::single() }
    }

    fn start(&self) -> Result<Arc<Vec<Server>>, Absent> {
        if let Some(program) = self.program.as_ref().filter(|program| !program.exists()) {
            let reason = format!("{} is not built; scripts/test builds it", program.display());
            return Err(Absent(reason));
        }
        let recipe = Recipe { program: self.program.clone(), ..Recipe::default() };
        etcd_cluster(&recipe, self.members).map(Arc::new)
    }
}

#[async_trait]
impl Target for EtcdTarget {
    fn name(&self) -> &str {
        self.name
    }

    fn info(&self) -> Info {
        let all = Capability::ALL.into_iter().fold(Capabilities::none(), Capabilities::with);
        Info::new("etcd", all, Limits::new())
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        let members = self.shared.get_or_init(|| self.start()).clone()?;
        Ok(Box::new(EtcdWorld::open(members).await?))
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        Ok(Box::new(EtcdWorld::open(self.start()?).await?))
    }
}

/// Opens a handle as a process does that means it.
pub(crate) async fn open(url: &str, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
    let options = EtcdOptions::parse(url)?.with_namespace(namespace.clone()).with_history(HISTORY);
    EtcdRegistry::open(options, Arc::new(SystemClock)).await
}

/// A link whose meter counts at the trait, for what no socket shows.
pub(crate) fn metered(registry: Arc<dyn Registry>, link: &Link) -> Arc<dyn Registry> {
    Arc::new(Linked::new(registry, link.meter(), Arc::new(SystemClock)))
}
