//! The gRPC listener: the standard health service; everything else is
//! UNIMPLEMENTED until services can be reached over gRPC.

use axum::Router;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The routes, and the handle that says when the gateway stops serving.
pub(crate) async fn router() -> (Router, HealthReporter) {
    let (reporter, service) = tonic_health::server::health_reporter();
    // The empty name stands for the server as a whole.
    reporter.set_service_status("", ServingStatus::Serving).await;
    (Routes::new(service).into_axum_router(), reporter)
}

/// Tells everybody who watches that the gateway is going.
pub(crate) async fn drain(reporter: &HealthReporter) {
    reporter.set_service_status("", ServingStatus::NotServing).await;
}
