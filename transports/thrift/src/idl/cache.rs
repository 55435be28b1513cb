//! Descriptors by what their texts are.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Descriptor, IdlError, Includes, parse_with};

/// Parses each text once. Cloning shares it.
///
/// Keyed by the SHA-256 of the texts, so that nobody can have another's text
/// taken for theirs; what is used least is forgotten first.
#[derive(Clone, Debug)]
pub struct Cache {
    known: moka::sync::Cache<[u8; 32], Arc<Descriptor>>,
}

impl Cache {
    /// Room for descriptors of so many bytes of text.
    pub fn new(bytes: u64) -> Self {
        let known = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, descriptor: &Arc<Descriptor>| descriptor.weight);
        Self { known: known.build() }
    }

    /// What a text and its includes mean. Errors are not kept.
    pub fn get(&self, text: &str, includes: &Includes) -> Result<Arc<Descriptor>, IdlError> {
        let parsed = self.known.try_get_with(key(text, includes), || {
            let mut descriptor = parse_with(text, includes)?;
            let bytes = text.len() + includes.values().map(String::len).sum::<usize>();
            descriptor.weight = bytes as u32; // At most 256 KiB were parsed.
            Ok(Arc::new(descriptor))
        });
        parsed.map_err(|error: Arc<IdlError>| (*error).clone())
    }
}

impl Default for Cache {
    /// Room for 64 MiB of text.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

/// Each part with its length in front: no two lists of texts run together.
fn key(text: &str, includes: &Includes) -> [u8; 32] {
    let mut hash = Sha256::new();
    let pairs = includes.iter().flat_map(|(name, text)| [name, text]);
    for part in std::iter::once(text).chain(pairs.map(String::as_str)) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_once_and_told_apart_from_every_other() {
        let cache = Cache::default();
        let none = Includes::new();
        let first = cache.get("struct A {}", &none).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get("struct A {}", &none).unwrap()));
        let with = Includes::from([("b.thrift".to_owned(), String::new())]);
        assert!(!Arc::ptr_eq(&first, &cache.get("struct A {}", &with).unwrap()));
        assert!(cache.get("struct A", &none).is_err());
    }
}
