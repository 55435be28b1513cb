//! JSON Web Tokens, in the one form that is used here: compact, signed with Ed25519.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_api::{Error, ErrorKind, Result};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// `{"alg":"EdDSA"}`: any other is refused by being another text.
const HEAD: &str = "eyJhbGciOiJFZERTQSJ9";

/// What an authority says of a subject.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Credential {
    /// `user:NAME` or `service:NAME`.
    pub(super) sub: String,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Seconds since 1970, after which it is nothing.
    pub(super) exp: u64,
    pub(super) cnf: Confirmation,
}

/// The key that its holder proves to have.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Confirmation {
    pub(super) jwk: Jwk,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

/// What a holder says of one call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Proof {
    /// The service that is called.
    pub(super) aud: String,
    /// When it was made, in seconds since 1970.
    pub(super) iat: u64,
    /// Of everything before it.
    pub(super) ath: String,
}

impl Jwk {
    pub(super) fn of(public: &[u8]) -> Self {
        Self { kty: "OKP".into(), crv: "Ed25519".into(), x: encode(public) }
    }

    pub(super) fn public(&self) -> Option<Vec<u8>> {
        let is_ours = self.kty == "OKP" && self.crv == "Ed25519";
        decode(&self.x).filter(|_| is_ours)
    }
}

/// Signs claims.
pub(super) fn sign(key: &Ed25519KeyPair, claims: &impl Serialize) -> Result<String> {
    let none = |error| Error::invalid("claims", "cannot be written").because(error);
    let claims = serde_json::to_vec(claims).map_err(none)?;
    let signed = format!("{HEAD}.{}", encode(&claims));
    let signature = encode(key.sign(signed.as_bytes()).as_ref());
    Ok(format!("{signed}.{signature}"))
}

/// The claims of a token, whoever signed it; none of what is no token.
pub(super) fn read<T: DeserializeOwned>(token: &str) -> Option<T> {
    let (signed, _) = token.rsplit_once('.')?;
    let claims = signed.strip_prefix(HEAD)?.strip_prefix('.')?;
    serde_json::from_slice(&decode(claims)?).ok()
}

/// Whether the holder of this key signed a token.
pub(super) fn is_signed(token: &str, public: &[u8]) -> bool {
    let Some((signed, signature)) = token.rsplit_once('.') else { return false };
    let key = UnparsedPublicKey::new(&ED25519, public);
    decode(signature).is_some_and(|signature| key.verify(signed.as_bytes(), &signature).is_ok())
}

pub(super) fn hash(text: &str) -> String {
    encode(&Sha256::digest(text))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A seed of a key that nobody has seen.
pub(super) fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    let none = |_| Error::new(ErrorKind::Unavailable, "the system has no random numbers");
    SystemRandom::new().fill(&mut seed).map_err(none)?;
    Ok(seed)
}

/// The key of a seed, as [`encode`] wrote it.
pub(super) fn key(seed: &str) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&decode(seed)?).ok()
}

/// Seconds since 1970: what was signed on one machine is judged on another, so both go
/// by the calendar.
#[allow(clippy::disallowed_methods)] // Tokens are dated; leases are not.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
