//! The admin listener: health, metrics and reading. It changes nothing.

mod events;
mod stability;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use portolan::{
    Client, ErrorKind, Followed, Instance, Query, Registry, Scope, ServiceName, ServiceRecord, View,
};
use tokio::sync::watch;

pub(crate) use self::stability::Stability;
use crate::dispatch::Dispatcher;
use crate::metrics::Metrics;
use crate::{problem, shape};

/// What the admin listener shows.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) registry: Arc<dyn Registry>,
    /// What this gateway believes, which is what it calls by.
    pub(crate) client: Client,
    /// Knows why it calls one and not another.
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) metrics: Arc<Metrics>,
    /// Set once, when the gateway stops; ends every open watch.
    pub(crate) draining: watch::Sender<bool>,
}

/// How long the registry may take to be called ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// How long a reader waits for this gateway to have heard of the last change.
const HEARD_WITHIN: Duration = Duration::from_millis(500);

pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/services", get(services))
        .route("/api/v1/services/{name}", get(service))
        .route("/api/v1/watch", get(events::watch))
        .with_state(admin)
}

/// The process is alive.
async fn healthz() -> Response {
    problem::text(StatusCode::OK, "ok\n")
}

/// The gateway is not on its way out, and it can serve: the registry answers, or
/// what it said last is still known.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let unready = |reason: &str| problem::problem(StatusCode::SERVICE_UNAVAILABLE, "", reason);
    if *admin.draining.borrow() {
        return unready("the gateway is draining");
    }
    let query = Query::of(Scope::Declarations);
    match tokio::time::timeout(READY_WITHIN, admin.registry.resolve(&query)).await {
        Ok(Ok(_)) => ready("ready", &admin.client),
        // One registry that is away must not take all gateways with it.
        _ if knows_anything(&admin.client) => {
            ready("ready, by what the registry said last: it does not answer", &admin.client)
        }
        Ok(Err(error)) => unready(&error.to_string()),
        Err(_) => unready("the registry does not answer"),
    }
}

fn knows_anything(client: &Client) -> bool {
    client.following().iter().any(|view| view.current().revision.is_some())
}

fn ready(state: &str, client: &Client) -> Response {
    let Stability { age, held, .. } = Stability::of(client);
    let text = format!("{state}\nage {} ms\nheld {held}\n", age.as_millis());
    problem::text(StatusCode::OK, text)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let text = admin.metrics.text(&Stability::of(&admin.client));
    let mut response = problem::text(StatusCode::OK, text);
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let content_type = HeaderValue::from_static(open_metrics);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

async fn services(State(admin): State<Arc<Admin>>) -> Response {
    match admin.registry.resolve(&Query::all()).await {
        Ok(view) => problem::json(StatusCode::OK, &shape::services(&view)),
        Err(error) => problem::registry(&error),
    }
}

async fn service(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Response {
    let name = match ServiceName::parse(&name) {
        Ok(name) => name,
        Err(error) => return problem::registry(&error),
    };
    hear(&admin, &name).await;
    match admin.client.resolve(&name).await {
        Ok(resolved) => {
            let mut shown = shape::resolved(&name, &resolved);
            shape::explain(&mut shown, &admin.dispatcher.explain(&name).await);
            problem::json(StatusCode::OK, &shown)
        }
        Err(error) => problem::registry(&error),
    }
}

/// Waits until this gateway has heard what the registry says now, so that
/// whoever changed something a moment ago sees it. Bounded: where the registry is
/// away, or never still, what was heard so far is shown, with its age.
async fn hear(admin: &Admin, name: &ServiceName) {
    let heard = async {
        let believed = admin.client.follow(name);
        match admin.registry.resolve(&Query::service(name.clone())).await {
            Ok(now) => believed.reached(|known| agrees(known, &now)).await,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                believed.reached(Followed::is_unknown).await;
            }
            Err(_) => {}
        }
    };
    let _ = tokio::time::timeout(HEARD_WITHIN, heard).await;
}

/// Whether what is believed and what was read are of the same records.
fn agrees(known: &Followed, now: &View) -> bool {
    let record = |r: &Arc<ServiceRecord>| r.revision;
    let counts = |i: &&Instance| !known.is_held(&i.id);
    let (ours, theirs) = (known.instances.iter(), now.instances.iter());
    known.service.as_ref().map(record) == now.services.first().map(record)
        && ours
            .filter(counts)
            .map(|i| (&i.id, i.revision))
            .eq(theirs.filter(counts).map(|i| (&i.id, i.revision)))
}
