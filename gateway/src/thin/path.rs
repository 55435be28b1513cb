//! A path of the thin API: the whole request goes to the endpoint it names, which
//! says the whole answer.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use portolan::ServiceName;
use portolan::call::Call;
use portolan::h2::{API_CONTENT_TYPE, ApiRequest, ApiResponse, ErrorType, Pair, PlatformError};

use super::{Asker, Thin, is_form};
use crate::dispatch::DispatchError;
use crate::forward;
use crate::vouch;

/// The number of the error for a path that names no endpoint.
const UNMAPPABLE: &str = "15";
/// Which of what a client says about itself is not passed on: it is ours to say.
const UNTOLD: [&str; 2] = ["x-api-key", "x-real-ip"];
const UNTOLD_PREFIX: &str = "x-forwarded-";
/// Of an answer, what is this connection's.
const OURS: [&str; 6] =
    ["connection", "content-length", "keep-alive", "te", "transfer-encoding", "upgrade"];

/// Calls the endpoint that a path names. The error is an answer, too.
pub(super) async fn call(
    thin: &Thin,
    head: &Parts,
    body: Body,
    asker: &mut Asker,
) -> Result<Response, PlatformError> {
    let decoded = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let unmappable = || {
        let code = thin.prefix.name("api.path");
        let why = "the path names no endpoint: /SERVICE/ENDPOINT";
        let error = PlatformError::new(ErrorType::BadRequest, code, why);
        error.with_context([UNMAPPABLE.to_owned()])
    };
    let (service, endpoint) = thin.prefix.api(&decoded).ok_or_else(unmappable)?;
    let name = ServiceName::parse(&service).map_err(|_| unmappable())?;
    let body = thin.body(body).await?;
    let mut request = ApiRequest {
        path: decoded.into_owned(),
        verb: head.method.to_string(),
        get: pairs(head.uri.query().unwrap_or_default().as_bytes(), asker),
        header: told(&head.headers),
        ..ApiRequest::default()
    };
    match is_form(head.headers.get(header::CONTENT_TYPE)) {
        true => request.post = pairs(&body, asker),
        false if body.is_empty() => {}
        false => request.body = Some(body.into()),
    }
    let mut call = Call::new(name, &endpoint, request.write());
    call.headers = thin.plane.forward.select(&head.headers);
    let vouched = thin.plane.voucher.vouch(&head.headers, &mut call.headers);
    vouched.map_err(|error| thin.told(&DispatchError::Call(error), &service, &endpoint))?;
    asker.tell(&mut call.headers);
    call.timeout = forward::wait(&head.headers);
    let outcome = thin.plane.dispatcher.as_it_is(call).await;
    let reply = outcome.map_err(|error| thin.told(&error, &service, &endpoint))?;
    let response = ApiResponse::read(&reply.payload);
    response.and_then(answer).ok_or_else(|| thin.no_answer(&service, &endpoint))
}

/// Each name once, the first time it comes, without sessions. `hob`, which names a
/// city, has three letters.
fn pairs(form: &[u8], asker: &mut Asker) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut known = HashMap::new();
    for (key, value) in form_urlencoded::parse(form) {
        let is_odd = key == "hob" && value.chars().count() != 3;
        if asker.read(&key, &value) || is_odd || known.insert(key.clone(), ()).is_some() {
            continue;
        }
        pairs.push(Pair { key: key.into_owned(), value: value.into_owned() });
    }
    pairs
}

/// `Authorization`, unless it is a passport, and what begins with `X-`, spelled as Go
/// spells them.
fn told(headers: &HeaderMap) -> Vec<String> {
    let is_told = |name: &str| {
        name == "authorization"
            || (name.starts_with("x-")
                && !name.starts_with(UNTOLD_PREFIX)
                && !UNTOLD.contains(&name))
    };
    let told = headers.iter().filter(|(name, _)| is_told(name.as_str()));
    let told = told.filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    let told = told.filter(|(_, value)| vouch::passport(value).is_none());
    told.map(|(name, value)| format!("{}: {value}", spelled(name))).collect()
}

/// `x-api-token` as `X-Api-Token`.
fn spelled(name: &HeaderName) -> String {
    let part =
        |part: &str| part[..1.min(part.len())].to_ascii_uppercase() + part.get(1..).unwrap_or("");
    name.as_str().split('-').map(part).collect::<Vec<_>>().join("-")
}

/// None for a status that is none.
fn answer(told: ApiResponse) -> Option<Response> {
    let status = u16::try_from(told.status_code).ok().filter(|code| (200..600).contains(code))?;
    let mut response = (StatusCode::from_u16(status).ok()?, told.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(API_CONTENT_TYPE));
    for line in &told.header {
        let pair = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        match pair {
            Some((name, _)) if OURS.contains(&name.as_str()) => {}
            Some((name, value)) if name == header::SET_COOKIE => drop(headers.append(name, value)),
            Some((name, value)) => drop(headers.insert(name, value)),
            None => tracing::debug!("a header of an answer is none; dropped"),
        }
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_spelled_as_go_spells_them_and_ours_stay_ours() {
        let mut headers = HeaderMap::new();
        for name in ["x-api-token", "x-forwarded-for", "x-api-key", "cookie", "authorization"] {
            headers.insert(name, HeaderValue::from_static("v"));
        }
        headers.append("authorization", HeaderValue::from_static("Bearer portolan_passport_x"));
        let mut lines = told(&headers);
        lines.sort();
        assert_eq!(lines, ["Authorization: v", "X-Api-Token: v"]);
    }

    #[test]
    fn an_answer_says_its_status_and_headers_and_no_more() {
        let told = |status_code, header: &[&str]| {
            let header = header.iter().map(|&line| line.to_owned()).collect();
            answer(ApiResponse { status_code, header, body: b"{}".to_vec() })
        };
        for none in [0, -1, 100, 101, 600, i32::MAX] {
            assert!(told(none, &[]).is_none(), "{none}");
        }
        let lines = ["X-A: 1", "content-type: text/plain", "Content-Length: 9", "bad name: x", "y"];
        let response = told(201, &lines).unwrap();
        assert_eq!(response.status(), 201);
        let is = |name, value: &str| response.headers().get(name).is_some_and(|is| is == value);
        assert!(is("x-a", "1") && is("content-type", "text/plain"));
        assert!(!is("content-length", "9"));
        let plain = told(200, &["X: \r\nSet-Cookie: a"]).unwrap();
        assert!(plain.headers().get("set-cookie").is_none());
        assert_eq!(plain.headers()["content-type"], API_CONTENT_TYPE);
    }
}
