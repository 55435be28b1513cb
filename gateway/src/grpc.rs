//! The gRPC listener: everything on one port.

use std::sync::Arc;

use axum::Router;
use portolan::grpc::{
    ClusterSecret, Dispatch, Forwarded, FrontDoor, Reception, RegistryService, ReverseService,
    Switchboard,
};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What is served.
pub(crate) struct Parts {
    pub(crate) registry: RegistryService,
    pub(crate) switchboard: Switchboard,
    pub(crate) reception: Arc<dyn Reception>,
    pub(crate) dispatch: Arc<dyn Dispatch>,
    /// Where several gateways are one.
    pub(crate) secret: Option<ClusterSecret>,
}

/// The routes, and the handle that says when the gateway stops serving.
pub(crate) async fn router(parts: Parts) -> (Router, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    // The empty name stands for the server as a whole.
    reporter.set_service_status("", ServingStatus::Serving).await;
    let Parts { registry, switchboard, reception, dispatch, secret } = parts;
    let reverse = ReverseService::new(&switchboard, reception, Arc::clone(&dispatch));
    let mut routes = Routes::new(health).add_service(registry).add_service(reverse);
    if let Some(secret) = secret {
        routes = routes.add_service(Forwarded::service(switchboard, secret));
    }
    let door = FrontDoor::new(dispatch);
    (routes.into_axum_router().fallback_service(door), reporter)
}

/// Tells everybody who watches that the gateway is going.
pub(crate) async fn drain(reporter: &HealthReporter) {
    reporter.set_service_status("", ServingStatus::NotServing).await;
}
