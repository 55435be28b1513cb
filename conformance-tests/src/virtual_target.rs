//! A target in virtual time, for backends that live in this process.

use std::sync::Arc;

use async_trait::async_trait;
use registry_api::access::{Access, Credential};
use registry_api::{Info, Namespace, Registry, Result};

use crate::asked::Asked;
use crate::clock::ManualClock;
use crate::link::{Link, Linked};
use crate::mutants::Mutant;
use crate::target::{Absent, Handles, KeyRing, Pace, Target, World};

/// Opens handles on one store: the same for every call of one function, a new
/// one for another function.
pub type Store = Arc<dyn Fn(&Namespace) -> Result<Arc<dyn Registry>> + Send + Sync>;

/// Makes a store that judges by the given clock.
pub type OpenStore = fn(&ManualClock) -> Store;

/// A backend behind a [`Link`], with a clock that is moved by hand; and, to show
/// that the suite can see, with a planted defect.
#[derive(Clone, Debug)]
pub struct VirtualTarget {
    name: String,
    info: Info,
    mutant: Option<Mutant>,
    open: OpenStore,
}

impl VirtualTarget {
    /// A target over what `open` opens.
    pub fn new(name: &str, open: OpenStore) -> Self {
        Self { name: name.to_owned(), info: describe(open), mutant: None, open }
    }

    /// The same, spoilt.
    #[must_use]
    pub fn with_mutant(mut self, mutant: Mutant) -> Self {
        self.name = format!("{}/{}", self.name, mutant.name);
        self.mutant = Some(mutant);
        self
    }
}

/// What a backend says about itself; opening it may need a runtime.
fn describe(open: OpenStore) -> Info {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without IO needs nothing");
    runtime.block_on(async {
        let handle = open(&ManualClock::new())(&Namespace::default());
        handle.expect("a store in this process opens").info().clone()
    })
}

#[async_trait]
impl Target for VirtualTarget {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> Info {
        self.info.clone()
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        let clock = ManualClock::new();
        Ok(Box::new(VirtualWorld {
            store: (self.open)(&clock),
            clock,
            link: Link::new(),
            mutant: self.mutant,
        }))
    }
}

/// A store that threads share needs no link to be reached.
struct InThisProcess(Store);

#[async_trait]
impl Handles for InThisProcess {
    async fn open(&self) -> Result<Arc<dyn Registry>> {
        (self.0)(&Namespace::default())
    }
}

struct VirtualWorld {
    store: Store,
    clock: ManualClock,
    link: Link,
    mutant: Option<Mutant>,
}

#[async_trait]
impl World for VirtualWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let opened = self.mutant.map_or_else(|| namespace.clone(), |m| m.namespace(namespace));
        let clock = Arc::new(self.clock.clone());
        let inner = (self.store)(&opened)?;
        let linked: Arc<dyn Registry> = Arc::new(Linked::new(inner, self.link.clone(), clock));
        Ok(match self.mutant {
            Some(mutant) => mutant.spoil(linked, &self.clock),
            None => linked,
        })
    }

    async fn handle_as(
        &self,
        access: Arc<dyn Access>,
        credential: Credential,
    ) -> Result<Arc<dyn Registry>> {
        let access = match self.mutant {
            Some(mutant) => mutant.access(access),
            None => access,
        };
        let registry = self.handle(&Namespace::default()).await?;
        Ok(Arc::new(Asked::new(registry, access, credential)))
    }

    fn pace(&self) -> Pace {
        Pace::Manual(self.clock.clone())
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn handles(&self) -> Option<Arc<dyn Handles>> {
        Some(Arc::new(InThisProcess(Arc::clone(&self.store))))
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.clock.jump_wall_clock(seconds);
        Some(())
    }

    fn key_ring(&self, registry: Arc<dyn Registry>) -> Option<Box<dyn KeyRing>> {
        let spoilt = self.mutant.and_then(|mutant| mutant.key_ring(&registry));
        spoilt.or_else(|| crate::cases::default_key_ring(registry))
    }
}
