//! Those without a key of an owner: what they may serve is what nobody's is.

use std::sync::Arc;

use async_trait::async_trait;
use registry_api::access::{Access, Action, Credential, Principal};
use registry_api::{Error, ErrorKind, KeyHash, Owner, Result};

use super::key::ApiKey;
use super::policy::KeyAccess;

/// Who is let in besides the holders of keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Guests {
    /// Whoever comes: for listeners that only this machine can reach.
    Anyone,
    /// Whoever shows one of these tokens.
    Tokens(Vec<ApiKey>),
}

/// [`KeyAccess`], and guests: they read, and serve names that no owner with keys
/// has declared.
#[derive(Debug)]
pub struct GuestAccess {
    keys: Arc<KeyAccess>,
    /// `None` is anyone. Only hashes are kept.
    tokens: Option<Vec<KeyHash>>,
    /// Whom guests act as.
    owner: Owner,
}

impl GuestAccess {
    /// Lets `guests` act as `owner`, which is nobody with keys.
    pub fn new(keys: Arc<KeyAccess>, guests: &Guests, owner: Owner) -> Self {
        let tokens = match guests {
            Guests::Anyone => None,
            Guests::Tokens(tokens) => Some(tokens.iter().map(ApiKey::hash).collect()),
        };
        Self { keys, tokens, owner }
    }

    fn shows_token(&self, credential: &Credential) -> bool {
        let Some(tokens) = &self.tokens else { return false };
        !credential.is_none() && tokens.contains(&ApiKey::from_text(credential.expose()).hash())
    }

    fn permits(&self, action: &Action<'_>) -> bool {
        match action {
            Action::Serve(services) => services.iter().all(|service| self.keys.is_free(service)),
            Action::Read => true,
            _ => false,
        }
    }
}

#[async_trait]
impl Access for GuestAccess {
    async fn authorize(&self, credential: &Credential, action: &Action<'_>) -> Result<Principal> {
        if !self.shows_token(credential) {
            match self.keys.authorize(credential, action).await {
                Err(error) if error.kind() != ErrorKind::Unauthenticated => return Err(error),
                Err(error) if self.tokens.is_some() => return Err(error),
                Err(_) => {} // Anyone may be a guest.
                known => return known,
            }
        }
        match self.permits(action) {
            true => Ok(Principal::Owner(self.owner.clone())),
            false => Err(Error::new(
                ErrorKind::PermissionDenied,
                "the service belongs to an owner with API keys, and this is none of them",
            )),
        }
    }
}
