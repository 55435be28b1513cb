//! Deliberately wrong registries: the proof that the suite can see.
//!
//! Each is one defect on top of a correct registry behind a [`Link`], and each
//! must be caught by a case of the clause it breaks. A backend author can run
//! them too; nothing here belongs into a program.

mod flawed;
mod lease;
mod read;
mod tell;
mod write;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::{Info, Namespace, Registry, Result};

use crate::clock::ManualClock;
use crate::link::{Link, Linked};
use crate::target::{Absent, KeyRing, Pace, Target, World};

pub use self::flawed::{Defect, Flawed};

/// One planted defect.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is wrong, as the specification lists it.
    pub name: &'static str,
    /// The clause it breaks.
    pub clause: &'static str,
    plant: Plant,
}

/// Where a defect sits.
#[derive(Clone, Copy, Debug)]
enum Plant {
    /// In every handle.
    Handle(fn(&ManualClock) -> Arc<dyn Defect>),
    /// In which namespace a handle is opened on.
    Namespace,
    /// In how API keys are stored.
    Keys,
}

/// The floor of the specification: 24.
pub fn all() -> Vec<Mutant> {
    let handle = |name, clause, plant| Mutant {
        name,
        clause,
        plant: Plant::Handle(plant),
    };
    vec![
        handle("drops the last change of a batch", "W2", |_| {
            tell::drops_last()
        }),
        handle("gap between snapshot and watch", "W1", |_| tell::gap()),
        handle("duplicate after reconnect", "W3", |_| tell::repeats()),
        handle("empty on error", "V4", |_| read::empty_on_error()),
        handle("old over new", "V8", |_| read::old_over_new()),
        handle("zombie renew", "H3", |_| lease::zombie()),
        handle("renew-ok-but-gone", "H1", |_| lease::renew_ok_but_gone()),
        handle("expires before T", "H2", |_| lease::early()),
        handle("never delists", "H2", |_| lease::never_delists()),
        handle("wall clock used", "H6", lease::wall_clock),
        handle("prefix match without a separator", "R4", |_| read::prefix()),
        handle("case-folded names", "R4", |_| read::case_folded()),
        handle("beat bumps revision", "H4", |_| {
            lease::beat_bumps_revision()
        }),
        handle("beat undoes drain", "H4", |_| lease::beat_undoes_drain()),
        handle("wrong cause", "W9", |_| tell::wrong_cause()),
        handle("disconnect undone by a late beat", "R6", |_| {
            lease::undone_by_late_beat()
        }),
        handle("unbounded slow watcher", "W5", |_| tell::unbounded()),
        handle("whole batch fails with one bad entry", "R7", |_| {
            write::whole_batch()
        }),
        handle("partial multi-service removal", "R7", |_| {
            write::partial_removal()
        }),
        handle("TTL read in the wrong unit", "H2", |_| lease::wrong_unit()),
        handle("watch ends silently", "W4", |_| tell::ends_silently()),
        handle("NotFound for unreachable", "V2", |_| {
            read::not_found_for_unreachable()
        }),
        Mutant {
            name: "cross-namespace leak",
            clause: "S1",
            plant: Plant::Namespace,
        },
        Mutant {
            name: "keys stored in clear",
            clause: "R10",
            plant: Plant::Keys,
        },
    ]
}

/// Opens correct handles for mutants to spoil: same store for every call of one
/// function, another store for another function.
pub type Store = Arc<dyn Fn(&Namespace) -> Result<Arc<dyn Registry>> + Send + Sync>;

/// Makes a store that judges by the given clock.
pub type OpenStore = fn(&ManualClock) -> Store;

/// A mutant as a target of the suite; without a mutant, the correct registry
/// behind the same link.
#[derive(Clone, Debug)]
pub struct MutantTarget {
    name: String,
    info: Info,
    mutant: Option<Mutant>,
    open: OpenStore,
}

impl MutantTarget {
    /// A target over what `open` opens.
    pub fn new(name: &str, info: Info, mutant: Option<Mutant>, open: OpenStore) -> Self {
        Self {
            name: name.to_owned(),
            info,
            mutant,
            open,
        }
    }
}

#[async_trait]
impl Target for MutantTarget {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> Info {
        self.info.clone()
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        let clock = ManualClock::new();
        Ok(Box::new(LinkedWorld {
            store: (self.open)(&clock),
            clock,
            link: Link::new(),
            mutant: self.mutant,
        }))
    }
}

/// A world in virtual time, behind a link.
struct LinkedWorld {
    store: Store,
    clock: ManualClock,
    link: Link,
    mutant: Option<Mutant>,
}

#[async_trait]
impl World for LinkedWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let plant = self.mutant.map(|mutant| mutant.plant);
        let inner = match plant {
            Some(Plant::Namespace) => (self.store)(&Namespace::default())?,
            _ => (self.store)(namespace)?,
        };
        let clock = Arc::new(self.clock.clone());
        let linked: Arc<dyn Registry> = Arc::new(Linked::new(inner, self.link.clone(), clock));
        Ok(match plant {
            Some(Plant::Handle(defect)) => Arc::new(Flawed::new(linked, defect(&self.clock))),
            _ => linked,
        })
    }

    fn pace(&self) -> Pace {
        Pace::Manual(self.clock.clone())
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.clock.jump_wall_clock(seconds);
        Some(())
    }

    fn key_ring(&self, registry: Arc<dyn Registry>) -> Option<Box<dyn KeyRing>> {
        match self.mutant.map(|mutant| mutant.plant) {
            Some(Plant::Keys) => Some(Box::new(write::ClearKeys::new(registry))),
            _ => crate::cases::default_key_ring(registry),
        }
    }
}
