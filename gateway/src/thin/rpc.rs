//! `POST /rpc`, the call that H2's thin API has for every endpoint: a form with JSON, or
//! a body of protobuf.
//!
//! Facts: HailoOSS `api-proxy` at 358f329. Sessions are not verified yet, so what needs
//! one, the platform's own services, is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portolan::call::{Call, CallError, CallErrorKind, Reply};
use portolan::h2::{self, Content, ErrorType, PlatformError, Prefix};
use portolan::{ErrorKind, ServiceName};
use serde_json::json;
use tokio::time::timeout;

use crate::control::{MAX_BODY, Plane};
use crate::dispatch::DispatchError;
use crate::{forward, problem};

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct Thin {
    pub(crate) plane: Arc<Plane>,
    pub(crate) prefix: Prefix,
}

const PROTOBUF: &str = "application/x-protobuf";
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// The error number of those that have none.
const NO_NUMBER: i64 = 11;

pub(crate) fn router(state: Thin) -> Router {
    Router::new().route("/rpc", post(rpc)).route("/v2/h2/call", post(rpc)).with_state(state)
}

/// What is called, and how it is asked.
struct Asked {
    service: String,
    endpoint: String,
    body: Bytes,
}

async fn rpc(State(thin): State<Thin>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let content = match head.headers.get(header::CONTENT_TYPE) {
        Some(value) if value == PROTOBUF => Content::Protobuf,
        _ => Content::Json,
    };
    let query = head.uri.query().unwrap_or_default();
    let answered = async {
        let asked = thin.asked(content, query, body).await?;
        thin.call(asked, content, &head.headers).await
    };
    let response = match answered.await {
        Ok(reply) => answer(StatusCode::OK, content, reply.payload.into()),
        Err(error) => refusal(&error, content),
    };
    thin.plane.metrics.request("rpc", response.status().as_u16());
    response
}

impl Thin {
    async fn asked(
        &self,
        content: Content,
        query: &str,
        body: Body,
    ) -> Result<Asked, PlatformError> {
        let body = match timeout(BODY_WITHIN, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(self.bad("the body must be whole, and at most 1 MiB")),
            Err(_) => return Err(self.bad("the body was not complete in 30 s")),
        };
        let named = match content {
            Content::Protobuf => query.as_bytes(),
            Content::Json => &body[..],
        };
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(named) {
            fields.entry(name).or_insert(value); // The first one counts.
        }
        let mut field = |name: &str| fields.remove(name).map(std::borrow::Cow::into_owned);
        let given = |value: Option<String>, name| {
            value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| self.bad(&format!("{name} is missing")))
        };
        let (service, endpoint) = (field("service"), field("endpoint"));
        let request = field("request").filter(|request| !request.is_empty());
        Ok(Asked {
            service: given(service, "service")?,
            endpoint: given(endpoint, "endpoint")?,
            body: match content {
                Content::Protobuf => body,
                Content::Json => request.unwrap_or_else(|| "{}".to_owned()).into(),
            },
        })
    }

    async fn call(
        &self,
        asked: Asked,
        content: Content,
        headers: &HeaderMap,
    ) -> Result<Reply, PlatformError> {
        if asked.service.starts_with(&self.prefix.name("kernel.")) {
            let why = "the platform's own services are not called from outside";
            let code = self.prefix.name("api.rpc.auth");
            let error = PlatformError::new(ErrorType::Forbidden, code, why);
            return Err(error.with_context(["5".to_owned()]));
        }
        let service = ServiceName::parse(&asked.service).map_err(|e| self.bad(&e.to_string()))?;
        let mut call = Call::new(service, &asked.endpoint, asked.body);
        call.content_type = content.as_str().to_owned();
        call.headers = self.plane.forward.select(headers);
        call.timeout = forward::wait(headers);
        let outcome = self.plane.dispatcher.as_it_is(call).await;
        outcome.map_err(|error| self.told(&error, &asked.service, &asked.endpoint))
    }

    fn bad(&self, why: &str) -> PlatformError {
        PlatformError::new(ErrorType::BadRequest, self.prefix.name("api.rpc.badrequest"), why)
    }

    /// A failure as H2's own client tells it, where it knows such a one.
    fn told(&self, error: &DispatchError, service: &str, endpoint: &str) -> PlatformError {
        let platform = |kind, name: &str, why: &str| {
            let code = self.prefix.name(&format!("kernel.platform.{name}"));
            PlatformError::new(kind, code, why)
                .with_context([service.to_owned(), endpoint.to_owned()])
        };
        let failed = |error: &CallError| match error.kind() {
            CallErrorKind::NoInstance => (ErrorType::NotFound, "notfound"),
            CallErrorKind::Registry(ErrorKind::Timeout) => (ErrorType::Timeout, "timeout"),
            CallErrorKind::Registry(ErrorKind::Overloaded) => {
                (ErrorType::CircuitBroken, "circuitbreaker")
            }
            _ => (ErrorType::InternalServerError, "badresponse"),
        };
        match error {
            DispatchError::Unknown => {
                platform(ErrorType::NotFound, "notfound", "there is no such service")
            }
            DispatchError::Call(error) => h2::application(error).unwrap_or_else(|| {
                let (kind, name) = failed(error);
                platform(kind, name, error.message())
            }),
            DispatchError::Registry(error) => {
                platform(ErrorType::InternalServerError, "registry", &error.to_string())
            }
            other => platform(ErrorType::InternalServerError, "badresponse", &format!("{other:?}")),
        }
    }
}

/// An error as the thin API tells it: in JSON with a number, which is the first thing of
/// its context or its code, where one of them is a number.
fn refusal(error: &PlatformError, content: Content) -> Response {
    let status = error.http_code.unwrap_or_else(|| error.kind().http_code());
    let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if content == Content::Protobuf {
        return answer(status, content, error.write(content).into());
    }
    let first = error.context.first().and_then(|first| first.parse().ok());
    let rest = error.context.iter().skip(usize::from(first.is_some()));
    let number = first.or_else(|| error.code.parse().ok()).unwrap_or(NO_NUMBER);
    problem::json(
        status,
        &json!({
            "status": false,
            "payload": error.description,
            "code": number,
            "dotted_code": error.code,
            "context": rest.collect::<Vec<_>>(),
        }),
    )
}

fn answer(status: StatusCode, content: Content, body: Body) -> Response {
    let kind = match content {
        Content::Protobuf => PROTOBUF,
        Content::Json => "application/json; charset=utf-8",
    };
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
