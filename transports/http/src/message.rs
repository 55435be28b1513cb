//! Calls and their outcomes as messages of HTTP, and back. The one place that knows both.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request, response};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use registry_api::call::{Call, CallError, CallErrorKind, Headers, IDENTITY, Reply};
use registry_api::{ErrorKind, ServiceName};

/// The time that is left to the caller, in milliseconds.
const TIMEOUT: &str = "portolan-timeout";
/// Which kind of failure an answer is.
const ERROR: &str = "portolan-error";
/// The name of an application's error, percent-encoded.
const CODE: &str = "portolan-code";
/// Headers that begin so are ours.
const OWN: &str = "portolan-";
/// Nobody waits for the answer (RFC 7240).
const RESPOND_ASYNC: &str = "respond-async";
/// What is about one connection or one message, and not about the call.
const NEVER: [&str; 15] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "expect",
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
];
/// The most headers that travel with one call, in entries and in bytes.
const MAX_HEADERS: usize = 64;
const MAX_BYTES: usize = 16 * 1024;
/// The longest a caller may say that it waits.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What stands in a path as it is: the unreserved of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The statuses of kinds. What has none of its own is 500.
const STATUSES: [(CallErrorKind, StatusCode); 14] = [
    (CallErrorKind::Application, StatusCode::UNPROCESSABLE_ENTITY),
    (CallErrorKind::Framework, StatusCode::BAD_GATEWAY),
    (CallErrorKind::NoInstance, StatusCode::SERVICE_UNAVAILABLE),
    (CallErrorKind::UnknownMethod, StatusCode::NOT_FOUND),
    (CallErrorKind::WrongInstance, StatusCode::MISDIRECTED_REQUEST),
    (CallErrorKind::Registry(ErrorKind::AlreadyExists), StatusCode::CONFLICT),
    (CallErrorKind::Registry(ErrorKind::Conflict), StatusCode::CONFLICT),
    (CallErrorKind::Registry(ErrorKind::InvalidArgument), StatusCode::BAD_REQUEST),
    (CallErrorKind::Registry(ErrorKind::NotFound), StatusCode::NOT_FOUND),
    (CallErrorKind::Registry(ErrorKind::Overloaded), StatusCode::TOO_MANY_REQUESTS),
    (CallErrorKind::Registry(ErrorKind::PermissionDenied), StatusCode::FORBIDDEN),
    (CallErrorKind::Registry(ErrorKind::Timeout), StatusCode::GATEWAY_TIMEOUT),
    (CallErrorKind::Registry(ErrorKind::Unauthenticated), StatusCode::UNAUTHORIZED),
    (CallErrorKind::Registry(ErrorKind::Unavailable), StatusCode::SERVICE_UNAVAILABLE),
];

/// A call as a request to `authority`. Errors: `InvalidArgument` for what no path holds.
pub(crate) fn to_request(call: &Call, authority: &str) -> Result<Request<Full<Bytes>>, CallError> {
    let encode = |text| utf8_percent_encode(text, SEGMENT);
    let uri =
        format!("http://{authority}/{}/{}", encode(call.service.as_str()), encode(&call.method));
    let request = Request::post(uri).body(Full::new(call.payload.clone()));
    let none = |_| CallError::new(ErrorKind::InvalidArgument.into(), "the method names no path");
    let mut request = request.map_err(none)?;
    let headers = request.headers_mut();
    put_headers(headers, &call.headers);
    put_type(headers, &call.content_type);
    headers.insert(TIMEOUT, HeaderValue::from(millis(call.time_left())));
    if call.oneway {
        headers.insert("prefer", HeaderValue::from_static(RESPOND_ASYNC));
    }
    Ok(request)
}

/// At least one: less is none, and none would be without an end.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

/// A request as a call of `service`, but for its body.
pub(crate) fn to_call(head: &request::Parts, service: &ServiceName) -> Result<Call, CallError> {
    let unknown = |reason| Err(CallError::new(CallErrorKind::UnknownMethod, reason));
    if head.method != Method::POST {
        return unknown("a call is a POST");
    }
    let decode = |text| percent_decode_str(text).decode_utf8().ok();
    let path = head.uri.path().strip_prefix('/').and_then(|path| path.split_once('/'));
    let parts = path.and_then(|(service, method)| Some((decode(service)?, decode(method)?)));
    let Some((asked, method)) = parts.filter(|(_, method)| !method.is_empty()) else {
        return unknown("the path is /SERVICE/METHOD");
    };
    if asked != service.as_str() {
        let reason = format!("this instance serves {service}");
        return Err(CallError::new(CallErrorKind::WrongInstance, reason));
    }
    let mut call = Call::new(service.clone(), method, Bytes::new());
    call.content_type = content_type(&head.headers);
    call.timeout = time_left(&head.headers);
    call.oneway = head.headers.get("prefer").is_some_and(|value| value == RESPOND_ASYNC);
    call.headers = headers(&head.headers);
    Ok(call)
}

fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let millis = headers.get(TIMEOUT)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis).min(MAX_WAIT))
}

/// An outcome as an answer.
pub(crate) fn to_response(outcome: Result<Reply, CallError>) -> Response<Full<Bytes>> {
    match outcome.and_then(Reply::whole) {
        Ok(reply) => {
            let mut response = Response::new(Full::new(reply.payload));
            put_headers(response.headers_mut(), &reply.headers);
            put_type(response.headers_mut(), &reply.content_type);
            response
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &CallError) -> Response<Full<Bytes>> {
    let is_application = error.kind() == CallErrorKind::Application;
    let body = match is_application {
        true => error.body().clone(),
        false => Bytes::from(error.message().to_owned()),
    };
    let mut response = Response::new(Full::new(body));
    let status = STATUSES.iter().find(|(kind, _)| *kind == error.kind());
    *response.status_mut() =
        status.map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| *status);
    let headers = response.headers_mut();
    headers.insert(ERROR, HeaderValue::from_static(error.kind().name()));
    let code = utf8_percent_encode(error.code(), SEGMENT).to_string();
    match HeaderValue::try_from(code) {
        Ok(code) if is_application => drop(headers.insert(CODE, code)),
        _ => put_type(headers, "text/plain; charset=utf-8"),
    }
    response
}

/// What a one-way call is answered with, before it is run.
pub(crate) fn accepted() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// An answer as what its caller gets. A status without a word of ours is the
/// application's own: `HTTP 404`.
pub(crate) fn to_outcome(head: &response::Parts, body: Bytes) -> Result<Reply, CallError> {
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(ERROR).and_then(CallErrorKind::named) {
        Some(CallErrorKind::Application) => {
            let code = percent_decode_str(text(CODE).unwrap_or_default()).decode_utf8_lossy();
            Err(CallError::application(code, body))
        }
        Some(kind) => Err(CallError::new(kind, String::from_utf8_lossy(&body))),
        None if head.status.is_success() => {
            let mut reply = Reply::new(body);
            reply.content_type = content_type(&head.headers);
            reply.headers = headers(&head.headers);
            Ok(reply)
        }
        None => Err(CallError::application(format!("HTTP {}", head.status.as_u16()), body)),
    }
}

fn put_type(headers: &mut HeaderMap, content_type: &str) {
    if let Ok(value) = HeaderValue::try_from(content_type)
        && !content_type.is_empty()
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let told = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    told.unwrap_or_default().to_owned()
}

/// What no header can hold is left out.
fn put_headers(to: &mut HeaderMap, headers: &Headers) {
    for (name, value) in headers.iter().filter(|(name, _)| travels(name)) {
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value) {
            to.append(name, value);
        }
    }
}

fn headers(of: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    let mut bytes = 0;
    for (name, value) in of.iter().filter(|(name, _)| travels(name.as_str())) {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else { continue };
        bytes += name.as_str().len() + value.len();
        if headers.len() < MAX_HEADERS && bytes <= MAX_BYTES {
            headers.push((name.as_str().to_owned(), value.to_owned()));
        }
    }
    headers
}

fn travels(name: &str) -> bool {
    !NEVER.contains(&name) && (!name.starts_with(OWN) || name == IDENTITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceName {
        ServiceName::parse("a b/ü".replace('/', ".").replace(' ', "-").as_str()).unwrap()
    }

    fn there(call: &Call) -> Call {
        let (head, _) = to_request(call, "host:1").unwrap().into_parts();
        to_call(&head, &service()).unwrap()
    }

    #[test]
    fn a_call_comes_as_it_went() {
        let mut call = Call::new(service(), "get/it?ü", Bytes::from_static(b"x"))
            .with_timeout(Duration::from_micros(1_500))
            .with_header("traceparent", "00-ü")
            .with_header(IDENTITY, "a~b")
            .with_header("portolan-error", "forged")
            .with_header("host", "elsewhere");
        call.content_type = "application/json".to_owned();
        let seen = there(&call);
        assert_eq!(
            (seen.method, seen.content_type),
            (call.method.clone(), call.content_type.clone())
        );
        assert_eq!(seen.timeout, Some(Duration::from_millis(2)), "rounded up");
        let names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["traceparent", IDENTITY]);
        assert_eq!(seen.headers[0].1, "00-ü");
        assert!(!there(&call).oneway && there(&call.with_oneway(true)).oneway);
    }

    #[test]
    fn an_outcome_comes_as_it_went() {
        let back = |outcome| {
            let (head, _) = to_response(outcome).into_parts();
            to_outcome(&head, Bytes::from_static(b"body"))
        };
        let mut reply = Reply::default().with_header("a", "1");
        reply.content_type = "text/plain".to_owned();
        let seen = back(Ok(reply)).unwrap();
        assert_eq!((&*seen.content_type, seen.header("a")), ("text/plain", Some("1")));
        for kind in CallErrorKind::all().filter(|kind| *kind != CallErrorKind::Application) {
            let seen = back(Err(CallError::new(kind, "why"))).unwrap_err();
            assert_eq!((seen.kind(), seen.message()), (kind, "body"));
        }
        let thrown = back(Err(CallError::application("Gone ü", Bytes::new()))).unwrap_err();
        assert_eq!((thrown.code(), &thrown.body()[..]), ("Gone ü", &b"body"[..]));
        let (mut head, _) = Response::new(()).into_parts();
        head.status = StatusCode::NOT_FOUND;
        let foreign = to_outcome(&head, Bytes::new()).unwrap_err();
        assert_eq!((foreign.kind(), foreign.code()), (CallErrorKind::Application, "HTTP 404"));
    }

    #[test]
    fn what_is_no_call_is_told() {
        let kind = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            to_call(&request.into_parts().0, &service()).unwrap_err().kind()
        };
        assert_eq!(kind(Method::GET, "/a-b.%C3%BC/get"), CallErrorKind::UnknownMethod);
        for path in ["/", "/a-b.%C3%BC", "/a-b.%C3%BC/", "/%FF/get"] {
            assert_eq!(kind(Method::POST, path), CallErrorKind::UnknownMethod, "{path}");
        }
        assert_eq!(kind(Method::POST, "/else/get"), CallErrorKind::WrongInstance);
    }
}
