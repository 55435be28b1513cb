//! Deliberately wrong registries: the proof that the suite can see.
//!
//! Each is one defect on top of a correct registry behind a [`Link`](crate::Link), and each
//! must be caught by a case of the clause it breaks. A backend author can run
//! them too; nothing here belongs into a program.

mod flawed;
mod lease;
mod read;
mod tell;
mod write;

use std::sync::Arc;

use registry_api::access::Access;
use registry_api::{Namespace, Registry};

use crate::clock::ManualClock;
use crate::target::KeyRing;

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
    /// In who is let in.
    Access,
}

impl Mutant {
    /// The namespace that is opened where `asked` is asked for.
    pub(crate) fn namespace(&self, asked: &Namespace) -> Namespace {
        match self.plant {
            Plant::Namespace => Namespace::default(),
            Plant::Access | Plant::Handle(_) | Plant::Keys => asked.clone(),
        }
    }

    /// A handle, spoilt if the defect sits there.
    pub(crate) fn spoil(
        &self,
        handle: Arc<dyn Registry>,
        clock: &ManualClock,
    ) -> Arc<dyn Registry> {
        match self.plant {
            Plant::Handle(defect) => Arc::new(Flawed::new(handle, defect(clock))),
            Plant::Access | Plant::Keys | Plant::Namespace => handle,
        }
    }

    /// The API keys, if the defect sits there.
    pub(crate) fn key_ring(&self, handle: &Arc<dyn Registry>) -> Option<Box<dyn KeyRing>> {
        match self.plant {
            Plant::Keys => Some(Box::new(write::ClearKeys::new(Arc::clone(handle)))),
            Plant::Access | Plant::Handle(_) | Plant::Namespace => None,
        }
    }

    /// Who is let in, if the defect sits there.
    pub(crate) fn access(&self, access: Arc<dyn Access>) -> Arc<dyn Access> {
        match self.plant {
            Plant::Access => Arc::new(write::Remembering::new(access)),
            Plant::Handle(_) | Plant::Keys | Plant::Namespace => access,
        }
    }
}

/// The floor of the specification is 24.
pub fn all() -> Vec<Mutant> {
    let handle = |name, clause, plant| Mutant { name, clause, plant: Plant::Handle(plant) };
    vec![
        handle("drops the last change of a batch", "W2", |_| tell::drops_last()),
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
        handle("beat bumps revision", "H4", |_| lease::beat_bumps_revision()),
        handle("beat undoes drain", "H4", |_| lease::beat_undoes_drain()),
        handle("wrong cause", "W9", |_| tell::wrong_cause()),
        handle("disconnect undone by a late beat", "R6", |_| lease::undone_by_late_beat()),
        handle("unbounded slow watcher", "W5", |_| tell::unbounded()),
        handle("whole batch fails with one bad entry", "R7", |_| write::whole_batch()),
        handle("partial multi-service removal", "R7", |_| write::partial_removal()),
        handle("TTL read in the wrong unit", "H2", |_| lease::wrong_unit()),
        handle("watch ends silently", "W4", |_| tell::ends_silently()),
        handle("NotFound for unreachable", "V2", |_| read::not_found_for_unreachable()),
        Mutant { name: "cross-namespace leak", clause: "S1", plant: Plant::Namespace },
        Mutant { name: "keys stored in clear", clause: "R10", plant: Plant::Keys },
        Mutant { name: "a revoked key goes on", clause: "S2", plant: Plant::Access },
    ]
}
