//! `POST /rpc`, the call for every endpoint: a form with JSON, or a body of protobuf.
//!
//! Sessions are passed on for the services to verify. The platform's own services are
//! for who has one of an `ADMIN`.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use portolan::ServiceName;
use portolan::call::{Call, Reply};
use portolan::h2::{Content, ErrorType, PlatformError};

use super::answer::{PROTOBUF, answer, refusal};
use super::{Asker, Thin};
use crate::dispatch::DispatchError;
use crate::forward;

/// What is called, and how it is asked.
struct Asked {
    service: String,
    endpoint: String,
    body: Bytes,
}

pub(super) async fn rpc(State(thin): State<Thin>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let content = match head.headers.get(header::CONTENT_TYPE) {
        Some(value) if value == PROTOBUF => Content::Protobuf,
        _ => Content::Json,
    };
    let mut asker = Asker::of(&head);
    let answered = async {
        let asked = thin.asked(content, &head, body, &mut asker).await?;
        thin.call(asked, content, &head, &asker).await
    };
    let mut response = match answered.await {
        Ok(reply) => answer(StatusCode::OK, content, reply.payload.into()),
        Err(error) => refusal(&error, content),
    };
    asker.echo(response.headers_mut());
    thin.plane.metrics.request("rpc", response.status().as_u16());
    response
}

/// Another method than POST.
pub(super) async fn not_allowed(State(thin): State<Thin>) -> Response {
    let code = thin.prefix.name("api.rpc.method");
    let error = PlatformError::new(ErrorType::BadRequest, code, "this is called with POST");
    let mut response = refusal(&error, Content::Json);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

impl Thin {
    async fn asked(
        &self,
        content: Content,
        head: &Parts,
        body: Body,
        asker: &mut Asker,
    ) -> Result<Asked, PlatformError> {
        let body = self.body(body).await?;
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let (named, other) = match content {
            Content::Protobuf => (query, &b""[..]),
            Content::Json => (&body[..], query),
        };
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(named) {
            asker.read(&name, &value);
            fields.entry(name).or_insert(value); // The first one counts.
        }
        for (name, value) in form_urlencoded::parse(other) {
            asker.read(&name, &value);
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
        head: &Parts,
        asker: &Asker,
    ) -> Result<Reply, PlatformError> {
        let is_platform = asked.service.starts_with(&self.prefix.name("kernel."));
        if is_platform && !asker.is_admin(self.login.as_deref()).await {
            let why = "the platform's own services are for who has the session of an ADMIN";
            let code = self.prefix.name("api.rpc.auth");
            let error = PlatformError::new(ErrorType::Forbidden, code, why);
            return Err(error.with_context(["5".to_owned()]));
        }
        let service = ServiceName::parse(&asked.service).map_err(|e| self.bad(&e.to_string()))?;
        let mut call = Call::new(service, &asked.endpoint, asked.body);
        call.content_type = content.as_str().to_owned();
        call.headers = self.plane.forward.select(&head.headers);
        let told = |error| self.told(&error, &asked.service, &asked.endpoint);
        let vouched = self.plane.voucher.vouch(&head.headers, &mut call.headers);
        vouched.map_err(|error| told(DispatchError::Call(error)))?;
        asker.tell(&mut call.headers);
        call.timeout = forward::wait(&head.headers);
        let outcome = self.plane.dispatcher.as_it_is(call).await;
        outcome.map_err(told)
    }
}
