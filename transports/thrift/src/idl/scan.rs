//! A look at the text before the parser: it overflows its stack on deep nesting.

use super::{IdlError, Position};

/// The largest text with its includes, in bytes.
const MAX_TEXT: usize = 256 * 1024;
/// How deep brackets may nest.
const MAX_NESTING: usize = 32;

/// Refuses what is too large, included texts and all.
pub(super) fn check_size(bytes: usize) -> Result<(), IdlError> {
    match bytes {
        0..=MAX_TEXT => Ok(()),
        _ => {
            let reason = format!("the IDL must have at most {MAX_TEXT} bytes, has {bytes}");
            Err(IdlError::new("", reason))
        }
    }
}

/// Refuses what nests too deep, outside strings and comments.
pub(super) fn check_nesting(text: &str) -> Result<(), IdlError> {
    let (mut depth, mut line, mut rest) = (0_usize, 1_usize, text);
    while let Some(c) = rest.chars().next() {
        let step = quiet_length(rest).unwrap_or_else(|| {
            match c {
                '<' | '[' | '{' | '(' => depth += 1,
                '>' | ']' | '}' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c.len_utf8()
        });
        if depth > MAX_NESTING {
            let reason = format!("the IDL nests deeper than {MAX_NESTING}");
            let mut error = IdlError::new("", reason);
            error.position = Some(Position { line, column: 1 });
            return Err(error);
        }
        line += rest[..step].matches('\n').count();
        rest = &rest[step..];
    }
    Ok(())
}

/// The length of the string or comment at the front, if there is one.
pub(super) fn quiet_length(text: &str) -> Option<usize> {
    let until = |end: &str, from: usize| {
        let found = text[from..].find(end);
        found.map_or(text.len(), |at| from + at + end.len())
    };
    match text.as_bytes() {
        [b'#', ..] | [b'/', b'/', ..] => Some(until("\n", 1)),
        [b'/', b'*', ..] => Some(until("*/", 2)),
        [b'"', ..] => Some(string_length(text, b'"')),
        [b'\'', ..] => Some(string_length(text, b'\'')),
        _ => None,
    }
}

fn string_length(text: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return place + 1,
            _ => {}
        }
    }
    text.len()
}
