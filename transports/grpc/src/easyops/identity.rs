//! The key of a cloud of go-easyops, and what it signs.

use std::fmt::{self, Debug};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use registry_api::{Error, Result};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::goeasyops::{ImmutableContext, InContext, MutableContext};
use super::wire_auth::{SignedUser, User};

/// Who this cloud's authentication service is: its key, and the service that calls are
/// made as. Never printed.
pub struct Identity {
    key: Ed25519KeyPair,
    service: String,
}

impl Identity {
    /// A new key, in the form that [`read`](Self::read) takes.
    pub fn generate() -> Result<Vec<u8>> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let failed = |_| Error::new(registry_api::ErrorKind::Unavailable, "no random numbers");
        Ok(made.map_err(failed)?.as_ref().to_vec())
    }

    /// The identity of a key (PKCS #8). Calls are made as the service account `service`.
    ///
    /// Errors: `InvalidArgument` for what is no such key.
    pub fn read(key: &[u8], service: &str) -> Result<Self> {
        let key = Ed25519KeyPair::from_pkcs8(key)
            .map_err(|_| Error::invalid("easyops key", "must be an ed25519 key in PKCS #8"))?;
        Ok(Self { key, service: service.to_owned() })
    }

    /// What others check signatures with.
    pub fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// A service account, signed.
    pub(super) fn sign(&self, service: &str, now: u32) -> SignedUser {
        let user = User {
            id: service.to_owned(),
            email: format!("{service}@portolan"),
            first_name: service.to_owned(),
            abbrev: service.to_owned(),
            active: true,
            service_account: true,
            email_verified: true,
            signed_at: now,
            ..User::default()
        };
        let user = user.encode_to_vec();
        let signature = self.key.sign(&user).as_ref().to_vec();
        SignedUser { user: user.into(), signature: signature.into() }
    }

    /// What a call of ours carries: the service that makes it.
    pub(super) fn context(&self, request: &str, now: u32) -> String {
        let caller = self.sign(&self.service, now);
        let context = InContext {
            im_ctx: Some(ImmutableContext {
                request_id: request.to_owned(),
                creator_service: Some(caller.clone()),
                user: None,
            }),
            m_ctx: Some(MutableContext { calling_service: Some(caller) }),
        };
        STANDARD.encode(context.encode_to_vec())
    }
}

impl Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_context_says_who_calls_and_is_signed() {
        let key = Identity::generate().unwrap();
        let identity = Identity::read(&key, "portolan").unwrap();
        let context = STANDARD.decode(identity.context("r", 7)).unwrap();
        let context = InContext::decode(&context[..]).unwrap();
        let caller = context.m_ctx.unwrap().calling_service.unwrap();
        let public = UnparsedPublicKey::new(&ED25519, identity.public_key());
        assert!(public.verify(&caller.user, &caller.signature).is_ok());
        let user = User::decode(&caller.user[..]).unwrap();
        assert!(user.service_account && user.active && user.signed_at == 7);
        assert_eq!(user.id, "portolan");
        let other = Identity::read(&Identity::generate().unwrap(), "portolan").unwrap();
        let public = UnparsedPublicKey::new(&ED25519, other.public_key());
        assert!(public.verify(&caller.user, &caller.signature).is_err());
        assert!(Identity::read(b"no key", "s").is_err());
        assert!(!format!("{identity:?}").contains("key"), "{identity:?}");
    }
}
