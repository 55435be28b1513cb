//! API keys: shown once, stored as a hash.

use std::fmt::{self, Debug};

use registry_api::KeyHash;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The text of an API key. Not printed by [`Debug`]; whoever shows it calls
/// [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A new key, `reg_owner_<id>_<secret><crc>`: 8 hexadecimal digits to tell
    /// keys apart, 64 of secret (244 random bits), and 8 of CRC-32 over
    /// everything before, so that a scanner can tell a key from other text.
    pub fn generate() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let (one, other) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let body = format!("reg_owner_{}_{one}{other}", &id[..8]);
        let checksum = crc32fast::hash(body.as_bytes());
        Self(format!("{body}{checksum:08x}"))
    }

    /// A new key as the first guide prints it: a UUID v4.
    pub fn generate_uuid() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// The key a caller showed.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be shown once to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored. A random secret needs no slow hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey(id {})", self.hash().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_shape_and_are_not_printed() {
        let key = ApiKey::generate();
        let text = key.expose();
        assert!(text.starts_with("reg_owner_") && text.len() == 10 + 8 + 1 + 64 + 8);
        let (body, checksum) = text.split_at(text.len() - 8);
        assert_eq!(format!("{:08x}", crc32fast::hash(body.as_bytes())), checksum);
        assert!(!format!("{key:?}").contains(text));
        assert_ne!(key, ApiKey::generate());
    }
}
