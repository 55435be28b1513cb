//! H2's thin API: HTTP to the services of H2, as its own apps speak it.
//!
//! `POST /rpc` calls any endpoint; every other path names an endpoint of the services
//! that are made for the outside. Facts: HailoOSS `api-proxy` at 358f329.

mod answer;
mod asker;
mod path;
mod rpc;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::post;
use portolan::h2::{AmqpCaller, Content, ErrorType, Login, PlatformError, Prefix};
use portolan::{Error, Result, ServiceName};
use tokio::time::timeout;

use self::asker::Asker;
use crate::config::Config;
use crate::control::{MAX_BODY, Plane};
use crate::dispatch::DispatchError;

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct Thin {
    plane: Arc<Plane>,
    prefix: Prefix,
    /// Who says whose session it is.
    login: Option<Arc<Login>>,
}

/// Where a request came from; the listener says so.
#[derive(Clone, Copy)]
pub(crate) struct Remote(pub(crate) SocketAddr);

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// The routes that have a name; all others are [`Thin::path`]'s.
pub(crate) fn router(thin: Thin) -> Router {
    let rpc = post(rpc::rpc).fallback(rpc::not_allowed);
    Router::new().route("/rpc", rpc.clone()).route("/v2/h2/call", rpc).with_state(thin)
}

impl Thin {
    /// For H2's services, which are called by `caller`.
    pub(crate) fn new(plane: Arc<Plane>, config: &Config, caller: Arc<AmqpCaller>) -> Result<Self> {
        let prefix = config.amqp_prefix.clone();
        let login = config.amqp_login_key.as_ref().map(|file| {
            let unreadable = |error| Error::invalid("login key", "cannot be read").because(error);
            let pem = std::fs::read_to_string(file).map_err(unreadable)?;
            Login::new(caller, &prefix, &pem).map(Arc::new)
        });
        Ok(Self { plane, login: login.transpose()?, prefix })
    }

    /// Whether `/SERVICE/METHOD` is a call of that service, which goes before a path of
    /// the thin API: where it is known, and where nobody can tell.
    pub(crate) async fn is_a_services(&self, service: &str) -> bool {
        let Ok(name) = ServiceName::parse(service) else { return false };
        let known = self.plane.dispatcher.find(&name).await;
        !matches!(known, Err(DispatchError::Unknown))
    }

    /// Answers a request whose path is nobody's.
    pub(crate) async fn path(self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let mut asker = Asker::of(&head);
        let mut response = match path::call(&self, &head, body, &mut asker).await {
            Ok(response) => response,
            Err(error) => answer::refusal(&error, Content::Json),
        };
        asker.echo(response.headers_mut());
        self.plane.metrics.request("thin", response.status().as_u16());
        response
    }

    /// The whole body, bounded in size and in time.
    async fn body(&self, body: Body) -> Result<Bytes, PlatformError> {
        match timeout(BODY_WITHIN, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(self.bad("the body must be whole, and at most 1 MiB")),
            Err(_) => Err(self.bad("the body was not complete in 30 s")),
        }
    }

    fn bad(&self, why: &str) -> PlatformError {
        PlatformError::new(ErrorType::BadRequest, self.prefix.name("api.rpc.badrequest"), why)
    }
}

/// Whether a content type is a form's.
fn is_form(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
