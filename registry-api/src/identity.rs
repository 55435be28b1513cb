//! The names things are known by, each with one grammar on every backend.

use std::borrow::Borrow;
use std::fmt::{self, Debug, Display};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Defines a shared-string newtype that is parsed, never assembled.
macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $field:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);
        impl $name {
            /// Checks the grammar; the error names the field and the rule.
            pub fn parse(text: &str) -> Result<Self> { $check($field, text)?; Ok(Self(text.into())) }
            /// The text, byte for byte as it was given.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { Debug::fmt(&*self.0, f) } }
        impl TryFrom<String> for $name { type Error = Error; fn try_from(text: String) -> Result<Self> { Self::parse(&text) } }
        impl From<$name> for String { fn from(value: $name) -> Self { (*value.0).into() } }
        impl Borrow<str> for $name { fn borrow(&self) -> &str { &self.0 } }
    };
}

text_newtype!(
    /// The name of a service: 1–253 bytes of UTF-8 without control, format or
    /// space characters and without `/`. Compared byte by byte: never
    /// normalised, never case-folded.
    ServiceName, "service", check_name
);
text_newtype!(
    /// Who a service belongs to: 1–255 bytes without control characters.
    Owner, "owner", check_id
);
text_newtype!(
    /// One tenant's world; a handle is bound to one. Same grammar as [`ServiceName`].
    Namespace, "namespace", check_name
);

impl Default for Namespace {
    /// The namespace `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

const MAX_NAME: usize = 253;
const MAX_ID: usize = 255;
/// The longest id kept without an allocation: a UUID and a little more.
const INLINE: usize = 38;

/// The id of an instance, chosen by its holder: 1–255 bytes of UTF-8 without
/// control characters. UUIDs, digests, queue names and `ip:port` all fit.
///
/// Up to 38 bytes are kept inline, because a lease table of a million ids is
/// walked at random and every pointer on the way is a cache miss.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Arc<str>),
}

impl InstanceId {
    /// Checks the grammar; the error names the field and the rule.
    pub fn parse(text: &str) -> Result<Self> {
        check_id("id", text)?;
        if text.len() > INLINE {
            return Ok(Self(Repr::Shared(text.into())));
        }
        let mut bytes = [0; INLINE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let len = text.len() as u8;
        Ok(Self(Repr::Inline { len, bytes }))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only ever filled from a whole &str")
    }

    /// The id's bytes: what is hashed and compared.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for InstanceId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // Unused bytes are zero: comparing all of them needs no loop.
            (Repr::Inline { len: a, bytes: x }, Repr::Inline { len: b, bytes: y }) => {
                a == b && x == y
            }
            // One text has one form, so the other pairs are equal only as texts.
            (Repr::Shared(x), Repr::Shared(y)) => x == y,
            (Repr::Inline { .. }, Repr::Shared(_)) | (Repr::Shared(_), Repr::Inline { .. }) => {
                false
            }
        }
    }
}

impl Eq for InstanceId {}

impl PartialOrd for InstanceId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InstanceId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for InstanceId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // No terminator: ids are never hashed as part of a longer key.
        match &self.0 {
            Repr::Inline { bytes, .. } => state.write(bytes), // Of a known length.
            Repr::Shared(text) => state.write(text.as_bytes()),
        }
    }
}

impl Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(self.as_str(), f)
    }
}

impl TryFrom<String> for InstanceId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.as_str().into()
    }
}

fn check_name(field: &'static str, text: &str) -> Result<()> {
    check_length(field, text, MAX_NAME)?;
    let bad = |c: char| c.is_control() || c.is_whitespace() || is_format(c) || c == '/';
    match text.chars().find(|c| bad(*c)) {
        Some(c) => Err(Error::invalid(
            field,
            format!(
                "must hold no control, format or space character and no '/', found U+{:04X}",
                c as u32
            ),
        )),
        None => Ok(()),
    }
}

fn check_id(field: &'static str, text: &str) -> Result<()> {
    check_length(field, text, MAX_ID)?;
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Error::invalid(
            field,
            format!("must hold no control character, found U+{:04X}", c as u32),
        )),
        None => Ok(()),
    }
}

/// Checks that `text` has between 1 and `max` bytes.
fn check_length(field: &'static str, text: &str, max: usize) -> Result<()> {
    if (1..=max).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("must have 1 to {max} bytes, has {}", text.len())))
}

/// Unicode general category Cf (format), version 16: invisible characters that
/// make two names look alike.
fn is_format(c: char) -> bool {
    matches!(c as u32,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2064 | 0x2066..=0x206F | 0xFEFF
        | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0001 | 0xE0020..=0xE007F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_follow_their_grammars() {
        let long = "x".repeat(253);
        for good in ["a", "A.b-c_d", "pkg.Service", "ünïcode", &long] {
            assert_eq!(ServiceName::parse(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(254);
        for bad in ["", "a/b", "a b", "a\u{0}", "a\u{202E}b", "a\u{A0}b", "\u{FEFF}a", &too_long] {
            let error = ServiceName::parse(bad).unwrap_err();
            assert!(error.to_string().contains("service"), "{error}");
        }
        for good in ["127.0.0.1:80", "free text / with 'quotes' %_", &"i".repeat(255)] {
            assert_eq!(InstanceId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a\nb", &"i".repeat(256)] {
            InstanceId::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn inline_and_shared_ids_order_by_their_bytes() {
        let short = InstanceId::parse("b").unwrap();
        let long = InstanceId::parse(&"a".repeat(100)).unwrap();
        assert!(long < short);
        assert_ne!(short, InstanceId::parse("B").unwrap());
    }
}
