//! The transport suite: what a call may rely on, on every wire.
//!
//! Cases run in real time and over whatever a wire runs over; none of them
//! waits for longer than a few seconds.

mod bounds;
mod cx;
mod faults;
#[cfg(feature = "client")]
mod identity;
mod kinds;
mod probe;
mod wire;

use std::pin::Pin;

pub use self::cx::CallCtx;
pub use self::probe::Probe;
pub use self::wire::{Wire, WireWorld};
use crate::case::Outcome;
use crate::failure::Failure;
use crate::run;
use crate::target::Absent;

/// One named check of one clause about calls.
#[derive(Clone, Copy, Debug)]
pub struct CallCase {
    /// The clause of `docs/SPEC.md` it proves.
    pub clause: &'static str,
    /// The file it stands in.
    pub group: &'static str,
    /// What it says, as a sentence.
    pub name: &'static str,
    /// What the wire has to have.
    pub needs: Option<Need>,
    run: for<'a> fn(&'a CallCtx) -> Running<'a>,
}

/// A property of a wire. One that it does not have is reported as not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Headers and deadlines travel with a call.
    Headers,
    /// There is a link between caller and host: it can be cut, and the ends may
    /// be of different versions.
    Link,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

impl CallCase {
    /// `group::name`, as filters and reports write it.
    pub fn path(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }
}

/// Lists the cases of a file: clause, function, and what it needs of the wire.
macro_rules! call_cases {
    ($group:literal: $($clause:literal $name:ident $([$need:ident])?)*) => {
        pub(super) const CASES: &[super::CallCase] = &[$(super::CallCase {
            clause: $clause,
            group: $group,
            name: stringify!($name),
            needs: super::only(&[$(super::Need::$need)?]),
            run: |cx| Box::pin($name(cx)),
        }),*];
    };
}
use call_cases;

/// The one need of a list of none or one.
const fn only(needs: &[Need]) -> Option<Need> {
    match needs {
        [need, ..] => Some(*need),
        [] => None,
    }
}

/// All cases.
pub fn all() -> Vec<CallCase> {
    let groups: &[&[CallCase]] = &[
        kinds::CASES,
        bounds::CASES,
        faults::CASES,
        #[cfg(feature = "client")]
        identity::CASES,
    ];
    groups.concat()
}

/// Runs one case in a world of its own.
pub fn run_call_case(wire: &dyn Wire, case: &CallCase) -> Outcome {
    if case.needs.is_some_and(|need| !wire.has(need)) {
        return Outcome::NotClaimed;
    }
    run::in_a_runtime(async {
        let world = wire.open().await.map_err(|Absent(reason)| Failure::Absent(reason))?;
        run::limited(async {
            let cx = CallCtx::open(world).await?;
            (case.run)(&cx).await
        })
        .await
    })
}
