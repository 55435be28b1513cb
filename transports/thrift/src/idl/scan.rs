//! A look at the text before the parser: it overflows its stack on deep nesting.

use super::IdlError;

/// The largest text, in bytes.
const MAX_TEXT: usize = 256 * 1024;
/// How deep brackets may nest.
const MAX_NESTING: usize = 32;

/// Refuses what is too large or nests too deep, outside strings and comments.
pub(super) fn check(text: &str) -> Result<(), IdlError> {
    if text.len() > MAX_TEXT {
        let reason = format!("the IDL must have at most {MAX_TEXT} bytes, has {}", text.len());
        return Err(IdlError::new("", reason));
    }
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
            return Err(IdlError::new(format!("line {line}"), reason));
        }
        line += rest[..step].matches('\n').count();
        rest = &rest[step..];
    }
    Ok(())
}

/// The length of the string or comment at the front, if there is one.
fn quiet_length(text: &str) -> Option<usize> {
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
