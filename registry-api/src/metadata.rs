//! Free-form facts about an offer or a service.

use std::fmt::{self, Debug};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// String pairs, sorted by key, kept byte for byte.
///
/// At most 64 keys of 1–255 bytes with values of at most 1,024 bytes. No
/// control characters in keys and no CR, LF or NUL in values, so that a gateway
/// can copy them into a header.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    try_from = "std::collections::BTreeMap<String, String>",
    into = "std::collections::BTreeMap<String, String>"
)]
// Two allocations for any number of pairs: a million instances carry one each.
pub struct Metadata(Option<Arc<[Pair]>>);

type Pair = (Box<str>, Box<str>);

const MAX_KEYS: usize = 64;
const MAX_KEY: usize = 255;
const MAX_VALUE: usize = 1024;

impl Metadata {
    /// Checks and sorts the pairs; a key given twice is refused.
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self> {
        let mut sorted = Vec::new();
        for (key, value) in pairs {
            check_pair(key.as_ref(), value.as_ref())?;
            sorted.push((Box::from(key.as_ref()), Box::from(value.as_ref())));
        }
        if sorted.len() > MAX_KEYS {
            return Err(invalid(format!("must have at most {MAX_KEYS} keys")));
        }
        sorted.sort();
        if sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(invalid("must not name a key twice"));
        }
        Ok(Self((!sorted.is_empty()).then(|| sorted.into())))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let pairs = self.0.as_deref()?;
        let place = pairs.binary_search_by(|pair| (*pair.0).cmp(key)).ok()?;
        Some(&pairs[place].1)
    }

    /// All pairs in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.as_deref().unwrap_or_default();
        pairs.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl TryFrom<std::collections::BTreeMap<String, String>> for Metadata {
    type Error = Error;

    fn try_from(map: std::collections::BTreeMap<String, String>) -> Result<Self> {
        Self::new(map)
    }
}

impl From<Metadata> for std::collections::BTreeMap<String, String> {
    fn from(metadata: Metadata) -> Self {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        metadata.iter().map(own).collect()
    }
}

fn check_pair(key: &str, value: &str) -> Result<()> {
    if !(1..=MAX_KEY).contains(&key.len()) || key.chars().any(char::is_control) {
        return Err(invalid(format!(
            "keys must have 1 to {MAX_KEY} bytes and no control character"
        )));
    }
    if value.len() > MAX_VALUE {
        return Err(invalid(format!("values must have at most {MAX_VALUE} bytes")));
    }
    if value.contains(['\r', '\n', '\0']) {
        return Err(invalid("values must hold no CR, LF or NUL"));
    }
    Ok(())
}

fn invalid(rule: impl Into<String>) -> Error {
    Error::invalid("metadata", rule)
}
