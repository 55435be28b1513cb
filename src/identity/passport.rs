//! Who somebody is, and the key that proves it.

use std::fmt::{self, Debug};

use registry_api::call::Subject;
use registry_api::{Error, Result};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::chain::{self, JOIN};
use super::token::{self, Credential, Proof};

/// A credential with its key: whoever has it is its subject. Never printed.
pub struct Passport {
    credential: String,
    subject: Subject,
    key: Ed25519KeyPair,
    text: String,
}

const SECRET: &str = "portolan_passport_";

impl Passport {
    pub(super) fn new(credential: &str, seed: &str) -> Result<Self> {
        Self::parse(&format!("{SECRET}{credential}{JOIN}{seed}"))
    }

    /// Whether a text says that it is one.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SECRET)
    }

    /// The one that [`expose`](Self::expose) told.
    ///
    /// Errors: `InvalidArgument` for a text that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let none = || Error::invalid("passport", format!("must be a text `{SECRET}…`"));
        let body = text.strip_prefix(SECRET).and_then(|body| body.rsplit_once(JOIN));
        let (credential, seed) = body.ok_or_else(none)?;
        let key = token::key(seed).ok_or_else(none)?;
        let claims = token::read::<Credential>(credential).ok_or_else(none)?;
        let is_its_key = claims.cnf.jwk.public().as_deref() == Some(key.public_key().as_ref());
        let subject = chain::subject(&claims).filter(|_| is_its_key).ok_or_else(none)?;
        Ok(Self { credential: credential.to_owned(), subject, key, text: text.to_owned() })
    }

    /// The secret text.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Proves to the service `audience`, now, that its subject calls; after `before`,
    /// which its subject was shown with a call it passes on.
    pub fn prove(&self, audience: &str, before: Option<&str>) -> Result<String> {
        self.prove_at(token::now(), audience, before)
    }

    pub(super) fn prove_at(
        &self,
        now: u64,
        audience: &str,
        before: Option<&str>,
    ) -> Result<String> {
        let mut chain = before.map(|before| format!("{before}{JOIN}")).unwrap_or_default();
        chain += &self.credential;
        let proof = Proof { aud: audience.to_owned(), iat: now, ath: token::hash(&chain) };
        let proof = token::sign(&self.key, &proof)?;
        Ok(format!("{chain}{JOIN}{proof}"))
    }
}

impl Debug for Passport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Passport");
        shown.field("subject", &self.subject.to_string()).finish_non_exhaustive()
    }
}
