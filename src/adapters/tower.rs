//! `tower`: a `Discover` for its balancer.
//!
//! tower's `Balance` ends with an error when its `Discover` does, and lets go
//! for ever of a service that fails to become ready. So this one does neither
//! end nor fail, and every service it gives out mends itself.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use registry_api::Instance;
use registry_api::kernel::Backoff;
use tokio::time::Sleep;
use tower::Service;
use tower::discover;

use super::{Change, Changes, InstanceKey};
use crate::view::ServiceView;

/// A stream of changes that is a `tower::discover::Discover`.
pub type Discovery<S> =
    BoxStream<'static, Result<discover::Change<InstanceKey, Mended<S>>, Infallible>>;

/// The instances of a view as services that `make` makes. Nothing is made but
/// when an instance comes, when what it offers changes, and when a service
/// fails to become ready.
pub fn discover<S>(
    view: &ServiceView,
    make: impl Fn(&Instance) -> S + Send + Sync + 'static,
) -> Discovery<S>
where
    S: Send + 'static,
{
    let make: Arc<Make<S>> = Arc::new(make);
    let next = move |mut changes: Changes| {
        let make = Arc::clone(&make);
        async move {
            let change = match changes.next().await {
                Change::Come(key, instance) => {
                    discover::Change::Insert(key, Mended::new(make, instance))
                }
                Change::Gone(key) => discover::Change::Remove(key),
            };
            Some((Ok(change), changes))
        }
    };
    stream::unfold(Changes::new(view), next).boxed()
}

type Make<S> = dyn Fn(&Instance) -> S + Send + Sync;

/// A service that is made anew when it fails to become ready.
pub struct Mended<S> {
    make: Arc<Make<S>>,
    instance: Instance,
    service: S,
    backoff: Backoff,
    rest: Option<Pin<Box<Sleep>>>,
}

impl<S> Mended<S> {
    fn new(make: Arc<Make<S>>, instance: Instance) -> Self {
        let service = make(&instance);
        let (first, cap) = (Duration::from_millis(50), Duration::from_secs(5));
        let backoff = Backoff::new(first, cap, fastrand::u64(..));
        Self { make, instance, service, backoff, rest: None }
    }

    /// The instance behind it.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

impl<S: Service<Request>, Request> Service<Request> for Mended<S>
where
    S::Error: Debug,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        loop {
            if let Some(rest) = &mut self.rest {
                std::task::ready!(rest.as_mut().poll(cx));
                self.rest = None;
                self.service = (self.make)(&self.instance);
            }
            match self.service.poll_ready(cx) {
                Poll::Ready(Err(error)) => {
                    tracing::debug!(id = %self.instance.id, ?error, "a service is made anew");
                    let rest = tokio::time::sleep(self.backoff.next_delay());
                    self.rest = Some(Box::pin(rest));
                }
                Poll::Ready(Ok(())) => {
                    self.backoff.reset();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn call(&mut self, request: Request) -> S::Future {
        self.service.call(request)
    }
}

impl<S: tower::load::Load> tower::load::Load for Mended<S> {
    type Metric = S::Metric;

    fn load(&self) -> S::Metric {
        self.service.load()
    }
}

impl<S> Debug for Mended<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mended").field("id", &self.instance.id).finish_non_exhaustive()
    }
}
