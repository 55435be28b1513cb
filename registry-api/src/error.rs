//! One error type for every registry operation.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Debug, Display};
use std::time::Duration;

/// A result of a registry operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the caller's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The owner or the service name is taken.
    AlreadyExists,
    /// The handle was closed.
    Closed,
    /// The asked revision is older than the history that is kept.
    Compacted,
    /// A newer epoch of the same id is live.
    Conflict,
    /// A stored record could not be understood.
    Corrupt,
    /// The caller's argument breaks a rule; the context names the field.
    InvalidArgument,
    /// The backend answered that it is not there.
    NotFound,
    /// Refused to protect the others; try again later.
    Overloaded,
    /// The credential is known and may not do this.
    PermissionDenied,
    /// No answer before the deadline.
    Timeout,
    /// The credential is missing or unknown.
    Unauthenticated,
    /// The backend could not be reached.
    Unavailable,
    /// The backend does not claim this capability.
    Unsupported,
}

impl ErrorKind {
    /// The kind in words, as it stands in messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already exists",
            Self::Closed => "closed",
            Self::Compacted => "compacted",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::InvalidArgument => "invalid argument",
            Self::NotFound => "not found",
            Self::Overloaded => "overloaded",
            Self::PermissionDenied => "permission denied",
            Self::Timeout => "timeout",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Whether the failed operation may have taken effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Applied {
    /// It did not.
    #[default]
    No,
    /// It may have: the answer was lost, not the request.
    Unknown,
}

/// Why a registry operation failed.
///
/// Carries no secret: whatever is put into the message or the context may be
/// logged and shown to the caller.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    applied: Applied,
    retry_after: Option<Duration>,
    operation: Option<&'static str>,
    context: Vec<(Cow<'static, str>, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that certainly changed nothing.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            applied: Applied::No,
            retry_after: None,
            operation: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// An [`InvalidArgument`](ErrorKind::InvalidArgument) that names the field.
    pub fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, rule).with("field", field)
    }

    /// Adds a fact, for example the service or the id that was meant.
    #[must_use]
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Display) -> Self {
        self.0.context.push((key.into(), value.to_string()));
        self
    }

    /// Says whether the operation may have taken effect.
    #[must_use]
    pub fn applied(mut self, applied: Applied) -> Self {
        self.0.applied = applied;
        self
    }

    /// Says when another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Names the operation, unless a layer below already did.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The rule or reason, without kind and context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the operation may have taken effect.
    pub fn may_have_applied(&self) -> bool {
        self.0.applied == Applied::Unknown
    }

    /// When another try makes sense, if the backend said so.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// A fact that was added with [`with`](Self::with).
    pub fn context(&self, key: &str) -> Option<&str> {
        let found = self.0.context.iter().find(|(k, _)| *k == key)?;
        Some(&found.1)
    }

    /// All facts, in the order they were added.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.context.iter().map(|(key, value)| (&**key, value.as_str()))
    }

    /// Whether the same request can succeed later without being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Unavailable)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}: ")?;
        }
        write!(f, "{}: ", self.0.kind.as_str())?;
        if let Some(field) = self.context("field") {
            write!(f, "{field} ")?;
        }
        f.write_str(&self.0.message)?;
        for (key, value) in self.0.context.iter().filter(|(key, _)| *key != "field") {
            write!(f, ", {key} {value:?}")?;
        }
        Ok(())
    }
}

impl Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self}")?;
        if let Some(source) = &self.0.source {
            write!(f, "; source: {source}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(&**source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_operation_kind_field_and_facts() {
        let error =
            Error::invalid("weight", "must be at least 0").with("id", "a").during("connect");
        let text = error.to_string();
        assert_eq!(text, "connect: invalid argument: weight must be at least 0, id \"a\"");
    }
}
