//! Who may do what: the policy a wire asks before it acts for somebody, and the
//! [`Desk`] that asks it.

mod desk;
mod known;

use std::fmt::{self, Debug};

use async_trait::async_trait;

pub use self::desk::{Asker, Desk};
use crate::error::Result;
use crate::identity::{Owner, ServiceName};

/// What a caller shows to prove who it is. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// The credential of a caller that shows none.
    pub fn none() -> Self {
        Self::default()
    }

    /// An API key or token.
    pub fn key(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret, for the policy that checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was shown.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "Credential(none)" } else { "Credential(…)" })
    }
}

/// What a caller wants to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Declare the first services of a new owner.
    Create(&'a Owner),
    /// Read declarations and instances.
    Read,
    /// Join, beat or leave as an instance of all of these services.
    Serve(&'a [ServiceName]),
    /// Change what this owner declared.
    Update(&'a Owner),
}

/// Who the caller turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// Nobody in particular, and that was enough.
    Anonymous,
    /// The operator.
    Master,
    /// The owner of a key.
    Owner(Owner),
}

/// The policy. Wires hold an `Arc<dyn Access>`.
#[async_trait]
pub trait Access: Debug + Send + Sync + 'static {
    /// Says who the caller is, if it may do this.
    ///
    /// Errors: `Unauthenticated` where the credential is missing or unknown,
    /// `PermissionDenied` where it is known and not enough, `Unavailable` where
    /// the policy cannot tell: never a yes.
    async fn authorize(&self, credential: &Credential, action: &Action<'_>) -> Result<Principal>;
}
