//! An answer over HTTP.

use hyper::StatusCode;

/// What is answered: a status, a kind of text, the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn text(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, kind: "text/plain; charset=utf-8", body: body.into() }
    }

    pub(super) fn html(body: impl Into<String>) -> Self {
        Self { kind: "text/html; charset=utf-8", ..Self::text(body) }
    }

    pub(super) fn refusal(status: StatusCode, why: &str) -> Self {
        Self { status, ..Self::text(format!("{why}\n")) }
    }
}

/// A text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '"' => escaped += "&quot;",
            c => escaped.push(c),
        }
    }
    escaped
}
