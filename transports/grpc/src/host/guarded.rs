//! Services of `tonic` behind a guard.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Either, Ready, ready};
use http::{Request, Response};
use registry_api::ServiceName;
use registry_api::call::{Call, CallError, CallErrorKind, Guard, IDENTITY, Identity};
use tonic::body::Body;
use tower::Layer;
use tower_service::Service;

use crate::reverse::{method_of, split};
use crate::status::refused;

/// Who may call these services.
#[derive(Clone, Debug)]
pub(super) struct Guarding {
    pub(super) services: Arc<[ServiceName]>,
    /// None lets everybody in.
    pub(super) guard: Option<Arc<dyn Guard>>,
}

/// A service that is asked for the calls that the guard lets in; who makes them stands
/// in the request's extensions as an `Arc<Identity>`.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    guarding: Guarding,
}

impl<S> Layer<S> for Guarding {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guarding: self.clone() }
    }
}

impl Guarding {
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Arc<Identity>>, CallError> {
        let Some(guard) = &self.guard else { return Ok(None) };
        let unknown = || CallError::new(CallErrorKind::UnknownMethod, "nobody here serves this");
        let path = request.uri().path();
        let (interface, _) = split(path).ok_or_else(unknown)?;
        // What is beside the services, like a health check, is called by its own name.
        let service = self.services.iter().find(|service| service.as_str() == interface);
        let service = service.or_else(|| self.services.first()).ok_or_else(unknown)?;
        let method = method_of(service, interface, path);
        let mut call = Call::new(service.clone(), method, Bytes::new());
        let proofs = request.headers().get_all(IDENTITY).into_iter();
        let proofs =
            proofs.filter_map(|proof| Some((IDENTITY.to_owned(), proof.to_str().ok()?.to_owned())));
        call.headers.extend(proofs.take(1));
        guard.admit(&mut call)?;
        Ok(call.identity)
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guarding.admit(&request) {
            Ok(identity) => {
                if let Some(identity) = identity {
                    request.extensions_mut().insert(identity);
                }
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(ready(Ok(refused(&error).into_http()))),
        }
    }
}
