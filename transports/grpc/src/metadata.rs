//! Headers of calls as gRPC metadata, and back.

use http::{HeaderMap, HeaderName, HeaderValue};
use registry_api::call::{Headers, IDENTITY};

/// What is about one connection or one message, and not about the call.
const NEVER: [&str; 16] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// What says who the caller is, and must be said by us alone.
const OURS: [&str; 4] = ["goeasyops_meta_v2", "portolan-", "proxy-", "x-forwarded-"];
/// The most that travels with one call, in entries and in bytes.
const MAX_HEADERS: usize = 64;
const MAX_BYTES: usize = 16 * 1024;

/// What of a caller's metadata goes on with the call. Binary metadata stays the
/// base64 it is.
pub(crate) fn from_outside(metadata: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    let mut bytes = 0;
    for (name, value) in metadata {
        let Ok(value) = value.to_str() else { continue };
        if !travels(name.as_str()) || headers.len() == MAX_HEADERS {
            continue;
        }
        bytes += name.as_str().len() + value.len();
        if bytes <= MAX_BYTES {
            headers.push((name.as_str().to_owned(), value.to_owned()));
        }
    }
    headers
}

/// Headers of a call or a reply as metadata; what no header can hold is left out.
pub(crate) fn to_metadata(headers: &Headers) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| travels(name) || name == IDENTITY) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            metadata.append(name, value);
        }
    }
    metadata
}

fn travels(name: &str) -> bool {
    !NEVER.contains(&name) && !OURS.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_callers_travels_and_what_is_ours_does_not() {
        let mut sent = HeaderMap::new();
        for name in
            ["traceparent", "authorization", "x-bin", "te", "x-forwarded-for", "portolan-kind"]
        {
            sent.insert(name, HeaderValue::from_static("v"));
        }
        let mut names: Vec<_> = from_outside(&sent).into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["authorization", "traceparent", "x-bin"]);
        let back = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "\n".to_owned())];
        assert_eq!(to_metadata(&back).len(), 1);
        // Whoever proves who it is does so through us, and never from outside.
        let proof = vec![(IDENTITY.to_owned(), "a~b".to_owned())];
        let told = to_metadata(&proof);
        assert!(told.contains_key(IDENTITY) && from_outside(&told).is_empty());
    }
}
