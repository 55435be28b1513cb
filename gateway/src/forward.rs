//! Which HTTP headers travel with a call, and what a caller may ask for by them.

use std::time::Duration;

use axum::http::HeaderMap;
use portolan::call::Headers;
use portolan::thrift::json::Style;

/// The headers that travel: names, and prefixes that end in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    names: Vec<String>,
    prefixes: Vec<String>,
}

/// What travels unless the operator says otherwise: W3C trace context and
/// baggage, ids of requests, and Kitex' own pairs (`rpc-persist-*`,
/// `rpc-transit-*` of bytedance/gopkg `cloud/metainfo`).
pub(crate) const USUAL: [&str; 7] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "x-tt-logid",
    "rpc-persist-*",
    "rpc-transit-*",
];

/// What never travels: it is about this connection, or says who the caller is
/// where nobody has checked it.
const NEVER: [&str; 20] = [
    "apikey",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "prefer",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-real-ip",
];
const NEVER_PREFIXES: [&str; 3] = ["h2-", "portolan-", "x-forwarded-"];

/// The most that travels with one call, in headers and in bytes.
const MAX_HEADERS: usize = 64;
const MAX_BYTES: usize = 16 * 1024;
/// The longest a caller may ask to wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

impl Forward {
    /// The error names the header.
    pub(crate) fn new<S: AsRef<str>>(allowed: impl IntoIterator<Item = S>) -> Result<Self, String> {
        let (mut names, mut prefixes) = (Vec::new(), Vec::new());
        for header in allowed {
            let header = header.as_ref().trim().to_ascii_lowercase();
            let (name, list) = match header.strip_suffix('*') {
                Some(prefix) => (prefix, &mut prefixes),
                None => (header.as_str(), &mut names),
            };
            let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(format!("{header:?} is not the name of a header"));
            }
            if never(name) {
                return Err(format!("{header} is about the connection or the caller's identity"));
            }
            list.push(name.to_owned());
        }
        Ok(Self { names, prefixes })
    }

    /// Those of a request that travel. A connection may name more headers as its
    /// own; they stay here too.
    pub(crate) fn select(&self, headers: &HeaderMap) -> Headers {
        let own = headers.get_all("connection").into_iter().filter_map(|value| value.to_str().ok());
        let own: Vec<_> = own.flat_map(|value| value.split(',').map(str::trim)).collect();
        let mut selected = Headers::new();
        let mut bytes = 0;
        for (name, value) in headers {
            let name = name.as_str();
            // UTF-8, which HTTP lets pass and Thrift needs.
            let Ok(value) = std::str::from_utf8(value.as_bytes()) else { continue };
            let is_own = own.iter().any(|named| named.eq_ignore_ascii_case(name));
            if is_own || !self.allows(name) || selected.len() == MAX_HEADERS {
                continue;
            }
            bytes += name.len() + value.len();
            if bytes <= MAX_BYTES {
                selected.push((name.to_owned(), value.to_owned()));
            }
        }
        selected
    }

    fn allows(&self, name: &str) -> bool {
        let listed = self.names.iter().any(|allowed| allowed == name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix));
        listed && !never(name)
    }
}

fn never(name: &str) -> bool {
    NEVER.contains(&name) || NEVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// How long a caller says it waits: `Prefer: wait=SECONDS` (RFC 7240).
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';']));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().parse::<u64>().ok())?
    })?;
    Some(Duration::from_secs(seconds.max(1)).min(MAX_WAIT))
}

/// How a caller wants its JSON: `Accept: application/json; int64=string`.
pub(crate) fn style(headers: &HeaderMap) -> Style {
    let accept = headers.get_all("accept").into_iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accept.flat_map(|value| value.split(','));
    let as_text = ranges
        .any(|range| range.split(';').skip(1).any(|parameter| parameter.trim() == "int64=string"));
    Style::default().with_bare_text(true).with_int64_as_text(as_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        pairs.collect()
    }

    #[test]
    fn only_what_is_listed_travels_and_identity_never() {
        let forward = Forward::new(USUAL).unwrap();
        let sent = headers(&[
            ("traceparent", "00-1-2-01"),
            ("rpc-persist-user", "7"),
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-unknown", "1"),
            ("x-request-id", "r"),
            ("connection", "close, X-Request-Id"),
        ]);
        let mut names: Vec<_> = forward.select(&sent).into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["rpc-persist-user", "traceparent"]);
        assert!(Forward::new(["Authorization"]).unwrap_err().contains("identity"));
        assert!(Forward::new(["x-forwarded-*"]).is_err());
        assert!(Forward::new(["*"]).is_err() && Forward::new(["h2-session"]).is_err());
        assert!(Forward::new(["portolan-identity"]).is_err());
        let wide = Forward::new(["x-*"]).unwrap();
        assert_eq!(wide.select(&headers(&[("x-forwarded-for", "1"), ("x-real-ip", "1")])), []);
    }

    #[test]
    fn callers_may_say_how_long_they_wait_and_how_they_read_numbers() {
        let seconds = |text| wait(&headers(&[("prefer", text)])).map(|wait| wait.as_secs());
        assert_eq!(seconds("respond-async, wait=5"), Some(5));
        assert_eq!(seconds("wait=100000"), Some(60));
        assert_eq!(seconds("wait=soon"), None);
        assert!(style(&headers(&[("accept", "application/json; int64=string")])).int64_as_text);
        assert!(!style(&headers(&[("accept", "application/json")])).int64_as_text);
    }
}
