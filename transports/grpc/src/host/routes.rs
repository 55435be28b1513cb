//! Ordinary `tonic` services as a handler of calls.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use http::Request;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

use crate::unary;

/// Answers calls by services as `tonic` generates them, unchanged.
#[derive(Clone)]
pub struct RoutesHandler(Routes);

impl RoutesHandler {
    /// Answers by these services.
    pub fn new(routes: Routes) -> Self {
        Self(routes.prepare())
    }
}

#[async_trait]
impl Handler for RoutesHandler {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let request = unary::request(&call)?;
        let mut routes = self.0.clone();
        let broken =
            |error| CallError::new(CallErrorKind::Framework, format!("the service broke: {error}"));
        std::future::poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut routes, cx))
            .await
            .map_err(broken)?;
        unary::read(routes.call(request).await.map_err(broken)?).await
    }
}

impl Debug for RoutesHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutesHandler")
    }
}
