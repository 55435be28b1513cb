//! Where a name stands in a text: the parser keeps no places.

use super::Position;
use super::scan::quiet_length;

/// Words in front of the name of a definition.
const KEYWORDS: [&str; 6] = ["enum", "exception", "service", "struct", "typedef", "union"];

/// The place of `User.age`, or of what comes closest to it.
pub(super) fn find(text: &str, place: &str) -> Option<Position> {
    let mut segments = place.split('.').peekable();
    let mut words = Words { text, at: 0 };
    let mut found = None;
    let mut before = "";
    while let (Some((at, word)), Some(wanted)) = (words.next(), segments.peek()) {
        let outermost = found.is_none();
        let defines = KEYWORDS.contains(&before) || before_alias(&text[..at]);
        if word == *wanted && (!outermost || defines) {
            found = Some(at);
            segments.next();
        }
        before = word;
    }
    let before = &text[..found?];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[line_start..].chars().count() + 1;
    Some(Position { line: before.matches('\n').count() + 1, column })
}

/// Whether a `typedef` or `const` stands earlier on the line: its name comes
/// after its type.
fn before_alias(before: &str) -> bool {
    let line = before.rsplit(['\n', ';', '}']).next().unwrap_or_default().trim_start();
    line.starts_with("typedef ") || line.starts_with("const ") || line.starts_with("include ")
}

/// The words of a text outside comments and strings.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = &self.text[self.at..];
            let first = rest.chars().next()?;
            if let Some(quiet) = quiet_length(rest) {
                self.at += quiet;
            } else if first.is_alphabetic() || first == '_' {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let word = &rest[..end.unwrap_or(rest.len())];
                let at = self.at;
                self.at += word.len();
                return Some((at, word));
            } else {
                self.at += first.len_utf8();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_they_are_defined() {
        let text =
            "// User\nstruct A { 1: User user }\nstruct User {\n  1: i32 id,\n  2: Nope age\n}\n";
        let at = |place| find(text, place).map(|p| (p.line, p.column));
        assert_eq!(at("User"), Some((3, 8)));
        assert_eq!(at("User.age"), Some((5, 11)));
        assert_eq!(at("Nobody"), None);
        let aliases = "typedef B A\ntypedef A B";
        assert_eq!(find(aliases, "B").map(|p| p.line), Some(1));
    }
}
