//! What a backend claims, as names.

use std::fmt::{self, Debug, Display};

use crate::limits::Limits;

/// Something not every backend can do. What is not claimed is refused with
/// `Unsupported` (a call) or reported as not claimed (a property).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Property: acknowledged writes survive SIGKILL of the backend.
    Durable,
    /// Property: the store can hold records another hand wrote; they are skipped
    /// where they cannot be understood.
    Foreign,
    /// Property: changes reach watchers without waiting for a poll.
    Push,
    /// Call: a watch can begin after a stored revision.
    Resume,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Durable, Self::Foreign, Self::Push, Self::Resume];

    /// Whether it gates a call, which is refused where it is not claimed; the
    /// others are properties, which are only reported.
    pub const fn gates_a_call(self) -> bool {
        matches!(self, Self::Resume)
    }

    /// The name used in reports and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Foreign => "foreign",
            Self::Push => "push",
            Self::Resume => "resume",
        }
    }
}

impl Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// None.
    pub const fn none() -> Self {
        Self(0)
    }

    /// This set and `capability`.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// This set without `capability`.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u8))
    }

    /// Whether `capability` is claimed.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    /// The claimed ones.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |c| self.has(*c))
    }
}

impl Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What a handle is: constant once it is open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The backend's name, as in its URL scheme.
    pub name: &'static str,
    /// What it claims.
    pub capabilities: Capabilities,
    /// What it accepts and how exact it is.
    pub limits: Limits,
}

impl Info {
    /// A description of a backend.
    pub const fn new(name: &'static str, capabilities: Capabilities, limits: Limits) -> Self {
        Self { name, capabilities, limits }
    }
}
