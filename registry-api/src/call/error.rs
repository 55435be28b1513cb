//! Why a call failed: the same kinds on every wire.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Display};

use bytes::Bytes;

use crate::error::ErrorKind;

/// What went wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// The application answered with an error of its own.
    Application,
    /// The caller gave up.
    Cancelled,
    /// The other side could not make sense of the call, or its answer none of
    /// ours: the application was not asked, or its answer was lost.
    Framework,
    /// Nobody is there to be called.
    NoInstance,
    /// The service does not have this method.
    UnknownMethod,
    /// The instance that was reached does not serve this service: its address
    /// has passed to another.
    WrongInstance,
    /// One of the kinds registry operations have too.
    Registry(ErrorKind),
}

/// What the kinds are called between two ends of this project, on every wire.
const NAMES: [(CallErrorKind, &str); 19] = [
    (CallErrorKind::Application, "application"),
    (CallErrorKind::Cancelled, "cancelled"),
    (CallErrorKind::Framework, "framework"),
    (CallErrorKind::NoInstance, "no-instance"),
    (CallErrorKind::UnknownMethod, "unknown-method"),
    (CallErrorKind::WrongInstance, "wrong-instance"),
    (CallErrorKind::Registry(ErrorKind::AlreadyExists), "already-exists"),
    (CallErrorKind::Registry(ErrorKind::Closed), "closed"),
    (CallErrorKind::Registry(ErrorKind::Compacted), "compacted"),
    (CallErrorKind::Registry(ErrorKind::Conflict), "conflict"),
    (CallErrorKind::Registry(ErrorKind::Corrupt), "corrupt"),
    (CallErrorKind::Registry(ErrorKind::InvalidArgument), "invalid-argument"),
    (CallErrorKind::Registry(ErrorKind::NotFound), "not-found"),
    (CallErrorKind::Registry(ErrorKind::Overloaded), "overloaded"),
    (CallErrorKind::Registry(ErrorKind::PermissionDenied), "permission-denied"),
    (CallErrorKind::Registry(ErrorKind::Timeout), "timeout"),
    (CallErrorKind::Registry(ErrorKind::Unauthenticated), "unauthenticated"),
    (CallErrorKind::Registry(ErrorKind::Unavailable), "unavailable"),
    (CallErrorKind::Registry(ErrorKind::Unsupported), "unsupported"),
];

impl CallErrorKind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(kind, _)| kind)
    }

    /// Its name, for the other end of a wire.
    pub fn name(self) -> &'static str {
        let known = NAMES.iter().find(|(known, _)| *known == self);
        known.map_or("framework", |(_, name)| name)
    }

    /// The kind of a [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// Why a call failed.
#[derive(Clone)]
pub struct CallError {
    kind: CallErrorKind,
    message: String,
    code: String,
    body: Bytes,
    not_run: bool,
}

impl CallError {
    /// A failure of the wire, the instance or the registry.
    pub fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: String::new(),
            body: Bytes::new(),
            not_run: false,
        }
    }

    /// An error the application declared: its name and its encoded value.
    pub fn application(code: impl Into<String>, body: Bytes) -> Self {
        let code = code.into();
        Self {
            kind: CallErrorKind::Application,
            message: format!("the application answered {code}"),
            code,
            body,
            not_run: false,
        }
    }

    /// Says that the call has certainly not been run: it never left, or not as
    /// a whole.
    #[must_use]
    pub fn not_run(mut self) -> Self {
        self.not_run = true;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> CallErrorKind {
        self.kind
    }

    /// Whether the call may have been run. Repeating one that was not is safe,
    /// whatever it does.
    pub fn may_have_run(&self) -> bool {
        let refused = matches!(
            self.kind,
            CallErrorKind::NoInstance
                | CallErrorKind::UnknownMethod
                | CallErrorKind::WrongInstance
                | CallErrorKind::Registry(ErrorKind::Overloaded)
        );
        !(refused || self.not_run)
    }

    /// The reason, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The name of an application error; empty otherwise.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The value of an application error; empty otherwise.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl From<ErrorKind> for CallErrorKind {
    fn from(kind: ErrorKind) -> Self {
        Self::Registry(kind)
    }
}

impl Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallError({:?}: {})", self.kind, self.message)
    }
}

impl StdError for CallError {}
