//! A small HTTP server beside a service that says how it is, and takes a few orders from
//! its operator: the paths of go-easyops' servers, and those that probes and Prometheus
//! know.
//!
//! Facts: yacloud-software/go-easyops at 57e4de23, `server/`. The original asks nobody
//! who they are; here, orders are for who is on this machine or shows the token.

mod answer;
mod page;
mod parameter;
mod server;

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use registry_api::{Phase, ServiceName};
use tokio::sync::watch;

pub use self::parameter::Parameter;
pub use self::server::StatusServer;
use crate::client::Client;
use crate::service::{CallCount, Operator, Order};

/// What a service says of itself. Cloning shares it.
#[derive(Clone)]
pub struct Status(Arc<Shared>);

struct Shared {
    name: ServiceName,
    token: Option<String>,
    reading_is_closed: bool,
    build: Vec<(String, String)>,
    dependencies: Vec<String>,
    infos: Vec<(String, Box<Tell>)>,
    caches: Vec<(String, Box<dyn Fn() + Send + Sync>)>,
    parameters: Vec<Parameter>,
    metrics: Vec<Box<Tell>>,
    callers: Option<Box<Callers>>,
    phase: watch::Sender<Phase>,
    order: watch::Sender<Option<Order>>,
    /// Whose views are its connections to others.
    client: Mutex<Option<Client>>,
}

type Callers = dyn Fn() -> Vec<CallCount> + Send + Sync;
type Tell = dyn Fn() -> String + Send + Sync;

/// Builds a [`Status`].
pub struct StatusBuilder(Shared);

/// What a service gets that asks for nothing else: on a free port of the loopback
/// address. Without one it goes on, and says so.
pub(crate) fn usual_operator(name: &ServiceName) -> Option<Arc<dyn Operator>> {
    let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    match StatusServer::listen(address, Status::of(name.clone()).build()) {
        Ok(server) => Some(Arc::new(server)),
        Err(error) => {
            tracing::warn!(%error, "there is no status server");
            None
        }
    }
}

impl Status {
    /// Of a service of this name.
    pub fn of(name: ServiceName) -> StatusBuilder {
        StatusBuilder(Shared {
            name,
            token: None,
            reading_is_closed: false,
            build: Vec::new(),
            dependencies: Vec::new(),
            infos: Vec::new(),
            caches: Vec::new(),
            parameters: Vec::new(),
            metrics: Vec::new(),
            callers: None,
            phase: watch::Sender::new(Phase::Starting),
            order: watch::Sender::new(None),
            client: Mutex::default(),
        })
    }

    fn sees(&self, phase: Phase) {
        self.0.phase.send_replace(phase);
    }

    fn joined(&self, client: &Client) {
        *self.0.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
    }

    async fn ordered(&self, least: Order) {
        let mut orders = self.0.order.subscribe();
        let _ = orders.wait_for(|order| *order >= Some(least)).await; // We hold its sender.
    }

    fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    fn order(&self, order: Order) {
        self.0.order.send_if_modified(|known| {
            let more = Some(order) > *known;
            *known = (*known).max(Some(order));
            more
        });
    }

    fn client(&self) -> Option<Client> {
        self.0.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StatusBuilder {
    /// Takes orders from elsewhere too, from whoever shows this as
    /// `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.0.token = Some(token.into());
        self
    }

    /// Says how it is only to who may give orders. Probes are answered all the same.
    #[must_use]
    pub fn with_closed_reading(mut self) -> Self {
        self.0.reading_is_closed = true;
        self
    }

    /// Adds a line about what was built, like `app_commit`.
    #[must_use]
    pub fn with_build(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.build.push((key.into(), value.into()));
        self
    }

    /// Adds a service that it needs.
    #[must_use]
    pub fn with_dependency(mut self, service: impl Into<String>) -> Self {
        self.0.dependencies.push(service.into());
        self
    }

    /// Adds a text about something inside.
    #[must_use]
    pub fn with_info(
        mut self,
        name: impl Into<String>,
        tell: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.0.infos.push((name.into(), Box::new(tell)));
        self
    }

    /// Adds a cache that can be cleared.
    #[must_use]
    pub fn with_cache(
        mut self,
        name: impl Into<String>,
        clear: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.0.caches.push((name.into(), Box::new(clear)));
        self
    }

    /// Adds a setting that can be changed while it runs.
    #[must_use]
    pub fn with_parameter(mut self, parameter: Parameter) -> Self {
        self.0.parameters.push(parameter);
        self
    }

    /// Adds metrics, as Prometheus' text format has them.
    #[must_use]
    pub fn with_metrics(mut self, tell: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.0.metrics.push(Box::new(tell));
        self
    }

    /// Tells who called, which a verifier knows.
    #[must_use]
    pub fn with_callers(
        mut self,
        tell: impl Fn() -> Vec<CallCount> + Send + Sync + 'static,
    ) -> Self {
        self.0.callers = Some(Box::new(tell));
        self
    }

    /// What is said from now on.
    pub fn build(self) -> Status {
        Status(Arc::new(self.0))
    }
}

impl Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Debug for StatusBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusBuilder").field("name", &self.0.name).finish_non_exhaustive()
    }
}
