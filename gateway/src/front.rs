//! The first look at a request: calls go straight to the data path, everything
//! else to the routes of the control plane.
//!
//! Not routes of one router: what a call pays for on its way is paid by every
//! call.

use std::convert::Infallible;
use std::net::SocketAddr;
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
use crate::listen::Accepts;
use crate::thin::{Remote, Thin};

/// What the HTTP listener serves. Cloned for each connection.
#[derive(Clone)]
pub(crate) struct Front {
    plane: Arc<Plane>,
    control: Router,
    thin: Option<Thin>,
    remote: Option<Remote>,
}

impl Front {
    pub(crate) fn new(plane: Arc<Plane>, control: Router, thin: Option<Thin>) -> Self {
        Self { plane, control, thin, remote: None }
    }

    /// Calls of services that are known, then paths of the thin API.
    async fn with_thin(self, thin: Thin, mut request: Request<Incoming>) -> Response {
        let is_call = match data::service_of(request.uri().path()) {
            Some(service) if thin.is_a_services(&service).await => {
                return data::answer(&self.plane, request).await;
            }
            service => service.is_some(),
        };
        if let Some(remote) = self.remote {
            request.extensions_mut().insert(remote);
        }
        match is_call {
            true => thin.path(request.map(Body::new)).await,
            false => answer(self.control, request).await,
        }
    }
}

impl Accepts for Front {
    fn accepted_from(self, remote: SocketAddr, _: SocketAddr) -> Self {
        Self { remote: Some(Remote(remote)), ..self }
    }
}

/// A router is always ready.
async fn answer(mut router: Router, request: Request<Incoming>) -> Response {
    let answered = router.call(request.map(Body::new)).await;
    answered.unwrap_or_else(|never| match never {})
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Some(thin) = &self.thin {
            let (front, thin) = (self.clone(), thin.clone());
            return Box::pin(async move { Ok(front.with_thin(thin, request).await) });
        }
        if data::is_call(request.uri().path()) {
            let plane = Arc::clone(&self.plane);
            return Box::pin(async move { Ok(data::answer(&plane, request).await) });
        }
        let control = self.control.clone();
        Box::pin(async move { Ok(answer(control, request).await) })
    }
}
