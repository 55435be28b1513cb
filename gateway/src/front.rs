//! The first look at a request: calls go straight to the data path, everything
//! else to the routes of the control plane.
//!
//! Not routes of one router: what a call pays for on its way is paid by every
//! call.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use tower_service::Service as _;

use crate::control::Plane;
use crate::data;

/// What the HTTP listener serves. Cloned for each connection.
#[derive(Clone)]
pub(crate) struct Front {
    plane: Arc<Plane>,
    control: Router,
}

impl Front {
    pub(crate) fn new(plane: Arc<Plane>, control: Router) -> Self {
        Self { plane, control }
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if data::is_call(request.uri().path()) {
            let plane = Arc::clone(&self.plane);
            return Box::pin(async move { Ok(data::answer(&plane, request).await) });
        }
        // A router is always ready.
        Box::pin(self.control.clone().call(request.map(Body::new)))
    }
}
