//! Sessions: who a request is for, as the login service has signed it.
//!
//! Facts: HailoOSS `service` at 67f4a39, `auth/parse.go`, `auth/validator.go`; a token
//! is a line of `name=value`, with a signature over what stands before it: RSA, PKCS #1
//! v1.5 over SHA-1, which is H2's choice.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moka::sync::Cache;
use prost::Message;
use registry_api::call::Call;
use registry_api::{Error, Result, ServiceName};
use ring::signature::{RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use spki::SubjectPublicKeyInfoOwned;
use spki::der::DecodePem;

use super::rule::grants;
use super::wall;
use crate::caller::AmqpCaller;
use crate::names::Prefix;

/// Somebody with a session.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Who it is.
    pub id: String,
    /// How they signed in.
    pub mechanism: String,
    /// On which device.
    pub device: String,
    /// What they may do.
    pub roles: Vec<String>,
    /// When the session ends, in seconds since 1970.
    expires: i64,
}

/// Asks the login service about sessions, and believes what is signed with its key.
pub struct Login {
    key: Key,
    service: ServiceName,
    caller: Arc<AmqpCaller>,
    known: Cache<String, Arc<User>>,
}

/// A session that was ended is believed so long at most.
const BELIEVED: Duration = Duration::from_secs(60);
const MOST: u64 = 10_000;
/// How long the login service may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest token that is read.
const MAX_TOKEN: usize = 16 * 1024;

#[derive(Clone, PartialEq, Message)]
struct ReadSession {
    #[prost(string, required, tag = "1")]
    sess_id: String,
    #[prost(bool, optional, tag = "2")]
    no_renew: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Session {
    #[prost(string, required, tag = "1")]
    sess_id: String,
    #[prost(string, required, tag = "2")]
    token: String,
}

impl Login {
    /// `PREFIX.service.login`, whose RSA public key is `pem`.
    ///
    /// Errors: `InvalidArgument` for what is no such key.
    pub fn new(caller: Arc<AmqpCaller>, prefix: &Prefix, pem: &str) -> Result<Self> {
        Self::with_key(caller, prefix, public_key(pem)?)
    }

    pub(super) fn with_key(caller: Arc<AmqpCaller>, prefix: &Prefix, key: Key) -> Result<Self> {
        Ok(Self {
            key,
            service: ServiceName::parse(&prefix.name("service.login"))?,
            caller,
            known: Cache::builder().max_capacity(MOST).time_to_live(BELIEVED).build(),
        })
    }

    /// Whose session this is; nobody's where it is not known, has ended or is forged,
    /// or where nobody can tell.
    pub async fn user(&self, session: &str) -> Option<Arc<User>> {
        let is_current = |user: &Arc<User>| user.expires > wall::seconds();
        if let Some(user) = self.known.get(session) {
            return Some(user).filter(is_current);
        }
        let request = ReadSession { sess_id: session.to_owned(), no_renew: None };
        let call = Call::new(self.service.clone(), "readsession", request.encode_to_vec().into());
        let call = call.with_idempotent(true).with_timeout(PATIENCE);
        let answer = match self.caller.call_service(call).await {
            Ok(answering) => Session::decode(answering.reply.payload).ok()?,
            Err(error) => {
                tracing::debug!(%error, "a session could not be read");
                return None;
            }
        };
        let user = User::read(&answer.token, &self.key).map(Arc::new);
        let user = user.filter(|user| answer.sess_id == session && is_current(user));
        match &user {
            Some(user) => self.known.insert(session.to_owned(), Arc::clone(user)),
            None => tracing::warn!("a session was answered that is not valid"),
        }
        user
    }
}

/// A public key.
pub(super) type Key = UnparsedPublicKey<Vec<u8>>;

/// The key in a PEM of PKIX, as PKCS #1 has it.
pub(super) fn public_key(pem: &str) -> Result<Key> {
    let invalid = || Error::invalid("login key", "must be an RSA public key, as PEM");
    let key = SubjectPublicKeyInfoOwned::from_pem(pem.trim()).map_err(|_| invalid())?;
    let rsa = spki::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    let bytes = key.subject_public_key.as_bytes();
    let bytes = bytes.filter(|_| key.algorithm.oid == rsa).ok_or_else(invalid)?;
    Ok(UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, bytes.to_vec()))
}

impl User {
    #[cfg(test)]
    pub(super) fn new(id: &str, roles: Vec<String>) -> Self {
        let (mechanism, device) = Default::default();
        Self { id: id.to_owned(), mechanism, device, roles, expires: i64::MAX }
    }

    /// Whether they have a role, or one that includes it.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| grants(held, role))
    }

    /// The user of a token; none where it is not signed with `key`.
    fn read(token: &str, key: &Key) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.split_once(":sig=")?;
        key.verify(signed.as_bytes(), &STANDARD.decode(signature).ok()?).ok()?;
        let field = |name: &str| {
            let mut pairs = signed.split(':').filter_map(|part| part.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let given = |name: &str| field(name).filter(|value| !value.is_empty());
        let roles = given("r").unwrap_or_default();
        let roles = roles.split(',').filter(|role| !role.is_empty());
        Some(Self {
            id: given("id")?,
            mechanism: given("am")?,
            device: given("d")?,
            roles: roles.map(str::to_owned).collect(),
            expires: given("et")?.parse().ok()?,
        })
    }
}

impl Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("roles", &self.roles).finish()
    }
}

impl Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCxReZ1mcF49WRJFMXXN+ANP2+w
9JsTMR+s7kjTEx6gQpA5RgWSt+aIxso+YJT9lXU9NspqLrIJW57cT0dCZixklmlB
SJbv+vQuOvZtA7AoG0vrtZ5tuoWXWYzrl8AoVtgKYSQQnJICEGVuvWFbBg/hc0u5
PtlNil+nbgtBOAzW0QIDAQAB
-----END PUBLIC KEY-----
";
    const TOKEN: &str = "am=admin:d=cli:id=dave:ct=1372942090:et=4102444800:rt=:\
        r=ADMIN,DRIVER.EU:sig=YHMAEC7LSkgnY7xskWX5zuBhmgdcz6UIWl3VW1M/wPNy06JMk3U/RgNFILj1pW/\
        ldO628Ssxj+jw6TKqtNn4GcdiQLxDWDVR0vHnaQgbkYQ9Aa4sV74I9IPFtHLOjbxxfy7YoBYW+jgiCbvkTH9F\
        DN23CSOJo0JqSVxEgFCIn6A=";

    #[test]
    fn a_token_is_believed_for_its_signature() {
        let key = public_key(KEY).unwrap();
        let user = User::read(TOKEN, &key).unwrap();
        assert_eq!((&*user.id, &*user.mechanism, &*user.device), ("dave", "admin", "cli"));
        assert!(user.has_role("ADMIN") && user.has_role("DRIVER.EU.LONDON"));
        assert!(!user.has_role("DRIVER"));
        assert!(user.expires > wall::seconds());
        let forged = TOKEN.replace("id=dave", "id=eve");
        let longer = TOKEN.replace(":rt=:", ":rt=:r=GOD:");
        let unsigned = TOKEN.split_once(":sig=").unwrap().0;
        for bad in [&forged, &longer, unsigned, "", ":sig=", &"x".repeat(100_000)] {
            assert!(User::read(bad, &key).is_none());
        }
        assert!(!format!("{user:?}").contains("sig"), "{user:?}");
    }

    #[test]
    fn a_key_is_a_public_one_of_rsa() {
        assert!(public_key("").is_err() && public_key("secret").is_err());
        let ed25519 = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
            -----END PUBLIC KEY-----\n";
        let error = public_key(ed25519).map(drop).unwrap_err().to_string();
        assert!(error.contains("RSA") && !error.contains("GAb9"), "{error}");
    }
}
