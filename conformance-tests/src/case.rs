//! A case is data: a clause, a name, what it needs, and a function.

use std::future::Future;
use std::pin::Pin;

use registry_api::Capability;

use crate::ctx::Ctx;
use crate::failure::Failure;

/// One named check of one clause.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The clause of `docs/SPEC.md` it proves.
    pub clause: &'static str,
    /// The file it stands in, which is the verb it is about.
    pub group: &'static str,
    /// What it says, as a sentence.
    pub name: &'static str,
    /// The capability that gates it.
    pub needs: Option<Capability>,
    /// It does to the backend what others on it would notice.
    pub alone: bool,
    pub(crate) run: for<'a> fn(&'a Ctx) -> Running<'a>,
}

/// A case at work.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

impl Case {
    /// `group::name`, as filters and reports write it.
    pub fn path(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }
}

/// The result of a case on a target. Never a silent skip.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The environment misses something; the reason says what.
    Absent(String),
    /// It does not hold.
    Fail(String),
    /// It does not hold, and a file says so and why.
    KnownGap(String),
    /// A property the target does not claim.
    NotClaimed,
    /// It holds.
    Pass,
    /// A call the target does not claim, and it was refused as it must be.
    Refused,
}

impl Outcome {
    /// The word used in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Absent(_) => "absent",
            Self::Fail(_) => "fail",
            Self::KnownGap(_) => "known gap",
            Self::NotClaimed => "not claimed",
            Self::Pass => "pass",
            Self::Refused => "refused",
        }
    }

    /// Why, where there is something to say.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Absent(reason) | Self::Fail(reason) | Self::KnownGap(reason) => Some(reason),
            Self::NotClaimed | Self::Pass | Self::Refused => None,
        }
    }
}

/// Lists the cases of a file: clause, function, the capability that gates it,
/// and whether it needs a backend of its own.
macro_rules! cases {
    ($group:literal: $($clause:literal $name:ident $([$needs:ident])? $(($alone:ident))?)*) => {
        pub(crate) const CASES: &[crate::Case] = &[$(crate::Case {
            clause: $clause,
            group: $group,
            name: stringify!($name),
            needs: crate::case::gate(&[$(registry_api::Capability::$needs)?]),
            alone: !stringify!($($alone)?).is_empty(),
            run: |cx| Box::pin($name(cx)),
        }),*];
    };
}
pub(crate) use cases;

/// The one capability of a list of none or one.
pub(crate) const fn gate(needs: &[Capability]) -> Option<Capability> {
    match needs {
        [only, ..] => Some(*only),
        [] => None,
    }
}
