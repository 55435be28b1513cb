//! JSON (RFC 8259), token by token.
//!
//! What is rare is somebody else's: text with escapes and numbers with a
//! fraction are read by `serde_json` and the standard library.

use std::borrow::Cow;

use super::ValueError;
use super::scalar::Number;

type Result<T> = std::result::Result<T, ValueError>;

/// A place in a text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// So many words of a text are looked at before it counts as long.
const SHORT: usize = 8;
const CONTROL: &str = "has a control character in a text";

impl<'a> Scanner<'a> {
    /// Errors: text that is not UTF-8, looked at once for all of it.
    pub(super) fn new(text: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(text).map_err(|error| {
            ValueError::new(format!("is not UTF-8 at byte {}", error.valid_up_to()))
        })?;
        Ok(Self { text, at: 0 })
    }

    /// The first byte of the next token, which is not taken.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8> {
        self.next_byte().ok_or_else(|| self.error("ends too early"))
    }

    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Takes the byte that was seen by [`peek`](Self::peek).
    #[inline]
    pub(super) fn take(&mut self) {
        self.at += 1;
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek()? != byte {
            return Err(self.error(&format!("lacks a {:?}", char::from(byte))));
        }
        self.take();
        Ok(())
    }

    /// Takes exactly this, if it comes next.
    #[inline]
    pub(super) fn takes(&mut self, token: &str) -> bool {
        let comes = self.text.as_bytes()[self.at..].starts_with(token.as_bytes());
        self.at += if comes { token.len() } else { 0 };
        comes
    }

    /// After an element: whether there is another before `end`, which is taken.
    #[inline]
    pub(super) fn goes_on(&mut self, end: u8) -> Result<bool> {
        let byte = self.peek()?;
        match byte {
            b',' => {}
            _ if byte == end => {}
            _ => return Err(self.error("lacks a comma or the end of a container")),
        }
        self.take();
        Ok(byte == b',')
    }

    /// Whether a container that has just begun is empty; its end is taken then.
    #[inline]
    pub(super) fn is_empty(&mut self, end: u8) -> Result<bool> {
        let empty = self.peek()? == end;
        self.at += usize::from(empty);
        Ok(empty)
    }

    /// Nothing but space may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.error("has trailing characters")),
        }
    }

    /// A text, borrowed where it holds no escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let length = self.plain(rest)?;
        if rest[length] == b'\\' {
            return self.escaped(start);
        }
        self.at = start + length + 1;
        Ok(Cow::Borrowed(&self.text[start..start + length]))
    }

    /// How long a text goes on without a quote or an escape. Most are short: the
    /// search that is fast for long ones begins when one is.
    #[inline]
    fn plain(&self, rest: &[u8]) -> Result<usize> {
        let (words, _) = rest.as_chunks::<8>();
        for (place, word) in words.iter().take(SHORT).enumerate() {
            let special = special(u64::from_le_bytes(*word));
            if special != 0 {
                let length = place * 8 + special.trailing_zeros() as usize / 8;
                return match rest[length] {
                    0..0x20 => Err(self.error(CONTROL)),
                    _ => Ok(length),
                };
            }
        }
        let begun = words.len().min(SHORT) * 8;
        let found = memchr::memchr2(b'"', b'\\', &rest[begun..]);
        let more = found.ok_or_else(|| self.error("has a text that does not end"))?;
        let long = &rest[begun..begun + more];
        match long.iter().fold(false, |control, byte| control | (*byte < 0x20)) {
            false => Ok(begun + more),
            true => Err(self.error(CONTROL)),
        }
    }

    fn escaped(&mut self, start: usize) -> Result<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let mut at = start;
        let end = loop {
            match memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
                Some(found) if bytes[at + found] == b'"' => break at + found + 1,
                Some(found) => at += found + 2, // And what is escaped.
                None => return Err(self.error("has a text that does not end")),
            }
        };
        let token = &self.text[start - 1..end];
        let text: String = serde_json::from_str(token)
            .map_err(|_| self.error("has a text with an escape that is none"))?;
        self.at = end;
        Ok(Cow::Owned(text))
    }

    /// A number: whole ones exactly, others as doubles.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let negative = bytes.get(start) == Some(&b'-');
        let mut at = start + usize::from(negative);
        let first = at;
        let mut whole: Option<u64> = Some(0);
        while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
            let digit = u64::from(digit - b'0');
            whole = whole.and_then(|n| n.checked_mul(10)?.checked_add(digit));
            at += 1;
        }
        let digits = at - first;
        if digits == 0 || (digits > 1 && bytes[first] == b'0') {
            return Err(self.error("has a number that is none"));
        }
        if !matches!(bytes.get(at), Some(b'.' | b'e' | b'E')) {
            let number = match (whole, negative) {
                (Some(whole), false) => Some(Number::Unsigned(whole)),
                (Some(whole), true) => 0_i64.checked_sub_unsigned(whole).map(Number::Signed),
                (None, _) => None,
            };
            if let Some(number) = number {
                self.at = at;
                return Ok(number);
            }
        }
        self.fraction(start, at)
    }

    /// A number with a fraction or an exponent, or with more digits than 64 bits.
    fn fraction(&mut self, start: usize, whole_end: usize) -> Result<Number> {
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            let begin = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            (at > begin).then_some(at)
        };
        let none = || self.error("has a number that is none");
        let mut at = whole_end;
        if bytes.get(at) == Some(&b'.') {
            at = digits(at + 1).ok_or_else(none)?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
            at = digits(at + 1 + usize::from(signed)).ok_or_else(none)?;
        }
        let number = self.text[start..at].parse::<f64>().map_err(|_| none())?;
        self.at = at;
        Ok(Number::Double(number))
    }

    /// `true`, `false` or `null`.
    pub(super) fn literal(&mut self, word: &str) -> Result<()> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, depth: usize) -> Result<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            open @ (b'[' | b'{') => {
                let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
                self.take();
                let end = open + 2; // Of both brackets.
                let mut goes_on = !self.is_empty(end)?;
                while goes_on {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.skip(depth)?;
                    goes_on = self.goes_on(end)?;
                }
                Ok(())
            }
            _ => Err(self.unexpected()),
        }
    }

    /// An error about the byte that was seen.
    pub(super) fn unexpected(&self) -> ValueError {
        self.error("is no JSON")
    }

    #[cold]
    fn error(&self, what: &str) -> ValueError {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        ValueError::new(format!("the JSON {what}, at line {line} column {column}"))
    }
}

/// The high bits of the bytes of a word that are a quote, a backslash or below a
/// space. The lowest of them is exact; those above it may be one too many.
#[inline]
pub(super) fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & (ONES << 7)
}

pub(super) fn too_deep() -> ValueError {
    ValueError::new("nests too deep")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &[u8]) -> bool {
        let Ok(mut scanner) = Scanner::new(text) else { return false };
        scanner.skip(64).and_then(|()| scanner.end()).is_ok()
    }

    #[test]
    fn it_takes_what_serde_json_takes() {
        for text in [
            "0",
            "-0",
            "01",
            "1.",
            ".5",
            "1.5e",
            "1e+5",
            "-",
            "+1",
            "1e999",
            "\"\\u00e9\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"a",
            "\"\\",
            "\"\u{1}\"",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "[1}",
            "nul",
            "truex",
            "",
            " ",
            "[] []",
            "NaN",
            "18446744073709551616",
            "\"\u{7f}\"",
            "{\"a\":{}}",
            "[[],{}]",
            "\t\r\n 1 ",
        ] {
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            // A number beyond the doubles is refused where a double is due.
            let theirs = theirs.is_ok() || text == "1e999";
            assert_eq!(accepts(text.as_bytes()), theirs, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_read_whole(
            text in "(\\PC|[\"\\\\\n\u{1}\u{1f}\u{20}\u{7f}\u{80}]){0,100}",
            control in 0_u8..0x20,
        ) {
            let written = serde_json::to_string(&text).unwrap();
            let mut scanner = Scanner::new(written.as_bytes()).unwrap();
            prop_assert_eq!(scanner.string().unwrap(), text.as_str());
            scanner.end().unwrap();
            let plain: String = text.chars().filter(|c| !"\"\\".contains(*c) && *c >= ' ').collect();
            let raw = format!("\"{plain}{}\"", char::from(control));
            prop_assert!(!accepts(raw.as_bytes()));
            let raw = format!("\"{}{plain}\"", char::from(control));
            prop_assert!(!accepts(raw.as_bytes()));
        }

        #[test]
        fn it_takes_what_serde_json_takes_of_anything(
            tokens in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", "a", "\"b\"", "1", "-", ".", "e", "0",
                "true", "null", " ", "\\u", "d800", "\u{e9}", "\u{1}",
            ]), 0..24),
        ) {
            let text = tokens.concat();
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            let ours = accepts(text.as_bytes());
            // IgnoredAny looks into no text: what it refuses we refuse.
            prop_assert!(theirs || !ours, "{}", text);
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            let range = parsed.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert!(ours == parsed.is_ok() || range, "{}", text);
        }
    }
}
