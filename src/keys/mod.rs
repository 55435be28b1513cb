//! Who may do what, by API keys that the registry itself holds as hashes.

mod guests;
mod index;
mod key;
mod policy;

use async_trait::async_trait;
use registry_api::Result;
use registry_api::access::{Access, Action, Credential, Principal};

pub use self::guests::{GuestAccess, Guests};
pub use self::key::ApiKey;
pub use self::policy::KeyAccess;

/// The policy of a deployment that trusts everybody who can reach it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAccess;

#[async_trait]
impl Access for OpenAccess {
    async fn authorize(&self, _credential: &Credential, _action: &Action<'_>) -> Result<Principal> {
        Ok(Principal::Anonymous)
    }
}
