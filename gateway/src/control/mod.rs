//! The control plane: what services send over HTTP, as the first guide says it.
//!
//! Statuses and texts are those of the Hertz/Kitex gateway of
//! PyromancerBoom/Orbital23 (f4ce42b7, `api-gateway/hertz_server`); where the
//! original is broken, the guide's promise counts.

mod connect;
mod declaration;
mod health;
mod register;
mod update;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use moka::future::Cache;
use portolan::access::{Access, Action, Credential};
use portolan::thrift::idl;
use portolan::{
    AddressPolicy, Epoch, Error, ErrorKind, InstanceId, KeyAccess, LeaseTerms, LeaseToken, Query,
    Registry, Result, ServiceName,
};
use serde_json::{Map, Value, json};

use crate::dispatch::Dispatcher;
use crate::forward::Forward;
use crate::metrics::Metrics;
use crate::vouch::Voucher;
use crate::{json, problem};

/// Everything the control and the data plane work with.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) access: Arc<KeyAccess>,
    pub(crate) policy: AddressPolicy,
    pub(crate) terms: LeaseTerms,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) idls: idl::Cache,
    pub(crate) forward: Forward,
    pub(crate) voucher: Arc<Voucher>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) known: KnownInstances,
}

/// What a beat over HTTP has to be told besides its id: read once per instance
/// and process.
pub(crate) type KnownInstances = Cache<InstanceId, Arc<Known>>;

/// One life of an instance.
#[derive(Debug)]
pub(crate) struct Known {
    epoch: Epoch,
    token: Option<LeaseToken>,
    services: Vec<ServiceName>,
}

/// Room for the instances of one process.
pub(crate) fn known_instances() -> KnownInstances {
    let idle = Duration::from_secs(3600);
    Cache::builder().max_capacity(1_000_000).time_to_idle(idle).build()
}

/// The largest body: an IDL of 256 KiB escaped as JSON fits.
pub(crate) const MAX_BODY: usize = 1 << 20;
/// The largest body of a request that proves itself only inside it.
const MAX_UNPROVEN_BODY: usize = 64 * 1024;

/// For a body that trickles in and a call that takes its whole time, together.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// All routes of the HTTP listener but calls.
pub(crate) fn router(plane: Arc<Plane>) -> Router {
    let small = DefaultBodyLimit::max(MAX_UNPROVEN_BODY);
    Router::new()
        .route("/ping", get(ping))
        .route("/register", post(register::register))
        .route("/update", put(update::update))
        .route("/connect", post(connect::connect).layer(small))
        .route("/health", post(health::health).layer(small))
        .route("/disconnect", post(health::disconnect).layer(small))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&plane), count))
        .with_state(plane)
}

async fn ping() -> Response {
    problem::json(StatusCode::OK, &json!({"message": "pong"}))
}

async fn unknown() -> Response {
    let reason = "there is no such route; calls go to /SERVICE/METHOD";
    problem::problem(StatusCode::NOT_FOUND, "", reason)
}

async fn not_allowed() -> Response {
    let reason = "the route does not take this method";
    problem::problem(StatusCode::METHOD_NOT_ALLOWED, "", reason)
}

/// Counts requests by route, never by what the caller put into the path, and
/// waits for none of them for ever.
async fn count(State(plane): State<Arc<Plane>>, request: Request, next: Next) -> Response {
    let route = match request.uri().path() {
        "/ping" => "ping",
        "/register" => "register",
        "/update" => "update",
        "/connect" => "connect",
        "/health" => "health",
        "/disconnect" => "disconnect",
        _ => "unknown",
    };
    let response = match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        // The framework says so in words of its own.
        Ok(response) if response.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let reason = "must have at most 1 MiB, or 64 KiB where the API key is inside it";
            problem::problem(StatusCode::PAYLOAD_TOO_LARGE, "body", reason)
        }
        Ok(response) => response,
        Err(_) => {
            let reason = "the request was not complete, or not answered, in 60 s";
            problem::problem(StatusCode::REQUEST_TIMEOUT, "", reason)
        }
    };
    plane.metrics.request(route, response.status().as_u16());
    response
}

impl Plane {
    /// Whether this key may act for an instance of these services.
    async fn may_serve(&self, key: &str, services: &[ServiceName]) -> Result<()> {
        self.access.authorize(&Credential::key(key), &Action::Serve(services)).await?;
        Ok(())
    }

    /// What is known of an instance, from the registry where need be.
    async fn instance(&self, id: &InstanceId) -> Result<Arc<Known>> {
        let read = async {
            let view = self.registry.resolve(&Query::instance(id.clone())).await?;
            let found = view.instance(id).ok_or_else(|| gone(id))?;
            Ok(Arc::new(Known {
                epoch: found.epoch,
                token: None,
                services: found.offers.iter().map(|offer| offer.service.clone()).collect(),
            }))
        };
        let known = self.known.try_get_with_by_ref(id, read).await;
        known.map_err(|error: Arc<Error>| Error::new(error.kind(), error.to_string()))
    }
}

fn gone(id: &InstanceId) -> Error {
    Error::new(ErrorKind::NotFound, "no such instance").with("id", id)
}

/// The object of a request as the original binds it: JSON by content type, all
/// of `fields` text. `None` is its "Invalid Request.".
fn bind(headers: &HeaderMap, body: &[u8], fields: &[&str]) -> Option<Map<String, Value>> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return None;
    }
    let Ok(Value::Object(object)) = json::parse(body) else {
        return None;
    };
    let complete = fields.iter().all(|field| json::text(&object, field).is_some());
    complete.then_some(object)
}

fn invalid_request() -> Response {
    problem::text(StatusCode::EXPECTATION_FAILED, "Invalid Request.")
}

/// The refusal of a key, or that nobody can tell.
fn unauthorized(error: &Error, unavailable: &'static str) -> Response {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => {
            problem::text(StatusCode::UNAUTHORIZED, "Unauthorized.")
        }
        _ => problem::text(StatusCode::INTERNAL_SERVER_ERROR, unavailable),
    }
}
