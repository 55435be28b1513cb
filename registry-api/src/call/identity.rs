//! Who makes a call.

use std::fmt::{self, Display};

/// The header in which callers prove who they are. A gateway takes it off what comes
/// from outside; what stands in it counts only once a [`Guard`](super::Guard) has
/// checked it.
pub const IDENTITY: &str = "portolan-identity";

/// Somebody who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// A person, or a service.
    pub kind: SubjectKind,
    /// The name, unique among those of its kind.
    pub name: String,
    /// What it may do, in the words of whoever serves.
    pub roles: Vec<String>,
}

/// What a [`Subject`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectKind {
    /// A service, which also may pass on the calls of others.
    Service,
    /// A user.
    User,
}

/// Who makes a call, as its host has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Whose call it is: who began it, however many services it went through. Its
    /// roles are those that count.
    pub subject: Subject,
    /// The services it went through, in order; the last one called this host. Empty
    /// where the subject itself did.
    pub via: Vec<String>,
}

impl Identity {
    /// An identity; whether it is true is for its maker to know.
    pub fn new(subject: Subject, via: Vec<String>) -> Self {
        Self { subject, via }
    }

    /// Whether its subject has a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.subject.roles.iter().any(|one| one == role)
    }

    /// The name of whoever called this host.
    pub fn caller(&self) -> &str {
        self.via.last().unwrap_or(&self.subject.name)
    }
}

impl Subject {
    /// A service of this name.
    pub fn service(name: impl Into<String>) -> Self {
        Self { kind: SubjectKind::Service, name: name.into(), roles: Vec::new() }
    }

    /// A user of this name.
    pub fn user(name: impl Into<String>) -> Self {
        Self { kind: SubjectKind::User, name: name.into(), roles: Vec::new() }
    }

    /// Whether it is the service of this name.
    pub fn is_service(&self, name: &str) -> bool {
        self.kind == SubjectKind::Service && self.name == name
    }

    /// Adds a role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }
}

/// As logs and pages name it: `user:alice`, `service:users`.
impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SubjectKind::Service => "service",
            SubjectKind::User => "user",
        };
        write!(f, "{kind}:{}", self.name)
    }
}
