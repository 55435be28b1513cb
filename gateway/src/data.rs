//! The data path: `GET|POST /:service/:path` to a Thrift call.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use portolan::call::{CallError, CallErrorKind};
use portolan::thrift::json::Json;
use portolan::{ErrorKind, ServiceName};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::control::{MAX_BODY, Plane};
use crate::dispatch::{DispatchError, Dispatched, Request};
use crate::{dispatch, forward, problem};

/// The original's text for what is not there.
const UNKNOWN: &str = "The service/method does not exist.";
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Whether a path is `/SERVICE/METHOD`: two segments.
pub(crate) fn is_call(path: &str) -> bool {
    segments(path).is_some()
}

/// The service that a path means which [`is_call`].
pub(crate) fn service_of(path: &str) -> Option<Cow<'_, str>> {
    decoded(segments(path)?.0)
}

fn segments(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/'))
        .then_some((service, method))
}

/// Answers a request whose path [`is_call`].
pub(crate) async fn answer(plane: &Plane, request: hyper::Request<Incoming>) -> Response {
    let response = call(plane, request).await.unwrap_or_else(|refusal| *refusal);
    plane.metrics.request("call", response.status().as_u16());
    response
}

/// The error is an answer too: of a request that is no call.
async fn call(plane: &Plane, request: hyper::Request<Incoming>) -> Result<Response, Box<Response>> {
    let (head, body) = request.into_parts();
    let is_get = head.method == Method::GET;
    if !is_get && head.method != Method::POST {
        let reason = "a call is a GET or a POST";
        return Err(Box::new(problem::problem(StatusCode::METHOD_NOT_ALLOWED, "", reason)));
    }
    let unknown = || Box::new(problem::text(StatusCode::NOT_FOUND, UNKNOWN));
    let (service, path) = segments(head.uri.path()).ok_or_else(unknown)?;
    let (service, path) =
        (decoded(service).ok_or_else(unknown)?, decoded(path).ok_or_else(unknown)?);
    let service = ServiceName::parse(&service).map_err(|_| unknown())?;
    let pairs = if is_get { Some(from_query(&head.uri)?) } else { None };
    let body = if is_get { Bytes::new() } else { read(body).await? };
    let argument = match &pairs {
        Some(pairs) => Some(Json::Value(pairs)),
        None if body.trim_ascii().is_empty() => None,
        None => Some(Json::Text(&body)),
    };
    let mut headers = plane.forward.select(&head.headers);
    let vouched = plane.voucher.vouch(&head.headers, &mut headers);
    vouched.map_err(|error| Box::new(failed(&error)))?;
    let request = Request {
        service: &service,
        path: &path,
        argument,
        idempotent: is_get, // By the meaning of GET, others may repeat it too.
        headers,
        wait: forward::wait(&head.headers),
        style: forward::style(&head.headers),
    };
    let answer = plane.dispatcher.call(request).await;
    plane.metrics.call(outcome(&answer));
    Ok(match answer {
        Ok(Dispatched::Text(text)) => problem::text(StatusCode::OK, text),
        Ok(Dispatched::Json(json)) => problem::raw_json(StatusCode::OK, json),
        Ok(Dispatched::Opaque(bytes)) => opaque(&head.headers, bytes),
        Ok(Dispatched::Exception(name, value)) => {
            problem::raw_json(StatusCode::INTERNAL_SERVER_ERROR, dispatch::thrown(&name, &value))
        }
        Err(error) => refuse(&error),
    })
}

/// What a service without an interface answered, as what it was asked in.
fn opaque(asked: &HeaderMap, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let octets = HeaderValue::from_static("application/octet-stream");
    let content_type = asked.get(header::CONTENT_TYPE).cloned().unwrap_or(octets);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

/// The whole body, bounded in size and in time.
async fn read(body: Incoming) -> Result<Bytes, Box<Response>> {
    let refused = |status, reason| Box::new(problem::problem(status, "body", reason));
    match timeout(BODY_WITHIN, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "must have at most 1 MiB"))
        }
        Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "did not arrive whole")),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "was not complete in 30 s")),
    }
}

/// Query arguments as a flat object of text; the IDL turns it into numbers.
fn from_query(uri: &Uri) -> Result<Value, Box<Response>> {
    let refused = |reason: &str| Box::new(problem::problem(StatusCode::BAD_REQUEST, "", reason));
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|rejection| refused(&rejection.body_text()))?;
    let mut object = Map::new();
    for (key, value) in pairs {
        if object.insert(key, Value::from(value)).is_some() {
            return Err(refused("the query names a key twice"));
        }
    }
    Ok(Value::Object(object))
}

fn outcome(answer: &Result<Dispatched, DispatchError>) -> &'static str {
    match answer {
        Ok(Dispatched::Exception(..)) => "exception",
        Ok(Dispatched::Text(_) | Dispatched::Json(_) | Dispatched::Opaque(_)) => "ok",
        Err(DispatchError::Argument(_) | DispatchError::EmptyBody) => "bad argument",
        Err(DispatchError::Unknown) => "unknown",
        Err(DispatchError::Call(error)) if error.kind() == CallErrorKind::NoInstance => {
            "no instance"
        }
        Err(DispatchError::Call(_)) => "call failed",
        Err(DispatchError::Interface(_) | DispatchError::Registry(_)) => "registry failed",
    }
}

fn refuse(error: &DispatchError) -> Response {
    match error {
        DispatchError::Argument(error) => {
            problem::problem(StatusCode::BAD_REQUEST, &error.path, &error.reason)
        }
        DispatchError::Call(error) => failed(error),
        DispatchError::EmptyBody => problem::text(StatusCode::BAD_REQUEST, "Request body is empty"),
        DispatchError::Interface(reason) => {
            let reason = format!("the service's IDL cannot be used: {reason}");
            problem::problem(StatusCode::BAD_GATEWAY, "", &reason)
        }
        DispatchError::Registry(error) => problem::registry(error),
        DispatchError::Unknown => problem::text(StatusCode::NOT_FOUND, UNKNOWN),
    }
}

fn unauthenticated(error: &CallError) -> Response {
    let mut response = problem::problem(StatusCode::UNAUTHORIZED, "", error.message());
    let how = HeaderValue::from_static("Bearer realm=\"portolan\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    response
}

/// The published table of call errors as HTTP statuses.
fn failed(error: &CallError) -> Response {
    // H2's repeats the code in its body, so it is never mistaken for the other.
    if let Some(told) = portolan::h2::application(error) {
        let status = told.http_code.and_then(|code| StatusCode::from_u16(code as u16).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return problem::application(status, &told.code, &told.description);
    }
    if let Some(told) = portolan::grpc::application(error) {
        let status = StatusCode::from_u16(told.http).unwrap_or(StatusCode::BAD_GATEWAY);
        return problem::application(status, &told.code, &told.message);
    }
    let is_services = error.may_have_run(); // Who cannot be dialled has refused nobody.
    let status = match error.kind() {
        CallErrorKind::Registry(ErrorKind::Unauthenticated) => return unauthenticated(error),
        CallErrorKind::Registry(ErrorKind::PermissionDenied) if is_services => {
            StatusCode::FORBIDDEN
        }
        CallErrorKind::NoInstance => StatusCode::SERVICE_UNAVAILABLE,
        CallErrorKind::Registry(ErrorKind::Overloaded) => StatusCode::TOO_MANY_REQUESTS,
        CallErrorKind::Registry(ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        CallErrorKind::Registry(ErrorKind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    problem::problem(status, "", error.message())
}
