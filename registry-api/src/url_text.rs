//! What the URLs of servers have in common, for backends that are named by one: a user,
//! and characters that stand as %XX. Not a parser of URLs: each backend has its own form.

use crate::error::{Error, Result};

/// The user and the password of `user:password`, decoded.
///
/// Errors: `InvalidArgument` without a password or a name, or where %XX is broken; the
/// text is not repeated.
pub fn credentials(text: &str) -> Result<(String, String)> {
    let rule = "must name a user as user:password, special characters as %XX";
    let bad = || Error::invalid("url", rule);
    let (name, password) = text.split_once(':').ok_or_else(bad)?;
    let both = decoded(name).zip(decoded(password));
    both.filter(|(name, _)| !name.is_empty()).ok_or_else(bad)
}

/// A text whose special characters stand as %XX; none where one is broken, or it is not
/// UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(others.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &others[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_special_characters_are_read() {
        assert_eq!(credentials("me:p%40s:s").unwrap(), ("me".to_owned(), "p@s:s".to_owned()));
        for bad in ["me", ":secret", "me:%zz", "me:%4", "me:%ff"] {
            let error = credentials(bad).unwrap_err().to_string();
            assert!(error.contains("user:password") && !error.contains("secret"), "{error}");
        }
    }
}
