//! A small HTTP client for the command line: JSON in, JSON or text out.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

/// Where a gateway is, as given with `--gateway`.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    base: String,
    client: Client<HttpConnector, Body>,
    authorization: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The gateway cannot be reached, or not in time.
    Unreachable(String),
    /// The URL or the answer makes no sense.
    Broken(String),
}

const ANSWER_WITHIN: Duration = Duration::from_secs(40);
const MAX_ANSWER: usize = 64 << 20;

impl HttpClient {
    /// A client for `http://host:port`.
    pub(crate) fn new(base: &str) -> Result<Self, HttpError> {
        let base = base.trim_end_matches('/').to_owned();
        let uri = base.parse::<Uri>();
        let plain = uri.is_ok_and(|uri| uri.scheme_str() == Some("http"));
        if !plain {
            return Err(HttpError::Broken(format!("{base:?} is not an http:// URL")));
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { base, client, authorization: None })
    }

    /// Shows a token with every request. Errors: it cannot stand in a header.
    pub(crate) fn with_bearer(mut self, token: &str) -> Result<Self, HttpError> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| HttpError::Broken("the token is none".to_owned()))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// A request with a JSON body, or none: the status and the text that came.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String), HttpError> {
        let answer = async {
            let response = self.open(method, path, body).await?;
            let status = response.status();
            let bytes = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let bytes = bytes.map_err(|error| HttpError::Broken(error.to_string()))?.to_bytes();
            Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
        };
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Unreachable(format!("{} does not answer", self.base))),
        }
    }

    /// The `data:` lines of a stream of server-sent events.
    pub(crate) async fn events(
        &self,
        path: &str,
    ) -> Result<Result<impl Stream<Item = String> + use<>, (StatusCode, String)>, HttpError> {
        let response = self.open(Method::GET, path, None).await?;
        if !response.status().is_success() {
            let status = response.status();
            let bytes = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let bytes = bytes.map_err(|error| HttpError::Broken(error.to_string()))?.to_bytes();
            return Ok(Err((status, String::from_utf8_lossy(&bytes).into_owned())));
        }
        let chunks = response.into_body().into_data_stream();
        let lines = chunks.scan(String::new(), |rest, chunk| {
            let Ok(chunk) = chunk else {
                return std::future::ready(None);
            };
            rest.push_str(&String::from_utf8_lossy(&chunk));
            let mut lines = Vec::new();
            while let Some(end) = rest.find('\n') {
                let line: String = rest.drain(..=end).collect();
                lines.extend(line.trim_end().strip_prefix("data: ").map(str::to_owned));
            }
            std::future::ready(Some(stream::iter(lines)))
        });
        Ok(Ok(lines.flatten()))
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<axum::http::Response<hyper::body::Incoming>, HttpError> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |value| Body::from(value.to_string()));
        let request = request.body(body);
        let mut request = request.map_err(|error| HttpError::Broken(error.to_string()))?;
        if let Some(shown) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, shown.clone());
        }
        let response = self.client.request(request).await;
        response.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            HttpError::Unreachable(format!("{}: {cause}", self.base))
        })
    }
}

/// Escapes one segment of a path, or one value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
