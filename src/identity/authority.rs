//! Who says who somebody is.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use registry_api::call::Subject;
use registry_api::{Error, Result};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::passport::Passport;
use super::token::{self, Confirmation, Credential, Jwk};

/// Issues passports. Its key is the estate's secret, and never printed.
pub struct Authority {
    key: Ed25519KeyPair,
    text: String,
}

/// What passports of an authority are checked with. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityKey(pub(super) Vec<u8>);

const SECRET: &str = "portolan_authority_";
const PUBLIC: &str = "ed25519:";
/// The longest name of a subject or a role, in bytes.
const MAX_NAME: usize = 255;
/// The most roles of one subject.
const MAX_ROLES: usize = 32;

impl Authority {
    /// A new one.
    ///
    /// Errors: `Unavailable` where the system has no random numbers.
    pub fn generate() -> Result<Self> {
        Self::parse(&format!("{SECRET}{}", token::encode(&token::seed()?)))
    }

    /// The one that [`expose`](Self::expose) told.
    ///
    /// Errors: `InvalidArgument` for a text that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let key = text.strip_prefix(SECRET).and_then(token::key);
        let none = || Error::invalid("authority", format!("must be a text `{SECRET}…`"));
        Ok(Self { key: key.ok_or_else(none)?, text: text.to_owned() })
    }

    /// The secret text.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What its passports are checked with.
    pub fn key(&self) -> AuthorityKey {
        AuthorityKey(self.key.public_key().as_ref().to_vec())
    }

    /// Says who somebody is, for so long.
    ///
    /// Errors: `InvalidArgument` for a name or a role that is empty, longer than 255
    /// bytes, or has control characters.
    pub fn issue(&self, subject: &Subject, lifetime: Duration) -> Result<Passport> {
        check("subject", &subject.name)?;
        subject.roles.iter().try_for_each(|role| check("role", role))?;
        if subject.roles.len() > MAX_ROLES {
            return Err(Error::invalid("roles", format!("must be at most {MAX_ROLES}")));
        }
        let seed = token::encode(&token::seed()?);
        let none = || Error::invalid("passport", "its key cannot be made");
        let key = token::key(&seed).ok_or_else(none)?;
        let credential = Credential {
            sub: subject.to_string(),
            roles: subject.roles.clone(),
            exp: token::now().saturating_add(lifetime.as_secs()),
            cnf: Confirmation { jwk: Jwk::of(key.public_key().as_ref()) },
        };
        let credential = token::sign(&self.key, &credential)?;
        Passport::new(&credential, &seed)
    }
}

fn check(field: &'static str, text: &str) -> Result<()> {
    let is_fine = !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control);
    let rule = format!("must have 1 to {MAX_NAME} bytes without control characters");
    if is_fine { Ok(()) } else { Err(Error::invalid(field, rule)) }
}

impl AuthorityKey {
    /// The key that `Display` wrote.
    ///
    /// Errors: `InvalidArgument` for a text that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let key = text.trim().strip_prefix(PUBLIC).and_then(token::decode);
        let none = || Error::invalid("authority key", format!("must be a text `{PUBLIC}…`"));
        key.filter(|key| key.len() == 32).map(Self).ok_or_else(none)
    }
}

impl Display for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", token::encode(&self.0))
    }
}

impl Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("key", &self.key().to_string()).finish_non_exhaustive()
    }
}
