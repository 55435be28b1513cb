//! The service's side of the stream: dials gateways and answers what comes.

mod guarded;
mod plain;
mod routes;
mod running;
mod session;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::access::Credential;
use registry_api::call::{Handler, Host};
use registry_api::kernel::Backoff;
use registry_api::{Offer, ServiceName};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::transport::Channel;

pub use self::plain::GrpcHost;
pub use self::routes::RoutesHandler;
use self::session::{Session, Shared};

/// How a service is hosted over reverse connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReverseOptions {
    /// What is shown to gateways.
    pub credential: Credential,
    /// How often a heartbeat is sent. Gateways give up after 120 s.
    pub heartbeat: Duration,
    /// The most calls at a time, of all gateways; more are answered as
    /// `Overloaded`.
    pub max_inflight: usize,
    /// How long a call may take whose caller does not say how long it waits.
    pub timeout: Duration,
    /// How long calls in flight may take after [`Host::close`].
    pub drain: Duration,
}

impl Default for ReverseOptions {
    /// No credential, a heartbeat every 15 s, 1,000 calls of 30 s, 10 s to drain.
    fn default() -> Self {
        Self {
            credential: Credential::none(),
            heartbeat: Duration::from_secs(15),
            max_inflight: 1000,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

impl ReverseOptions {
    /// Sets what is shown to gateways.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// Sets how often a heartbeat is sent.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Sets the most calls at a time.
    #[must_use]
    pub fn with_max_inflight(mut self, calls: usize) -> Self {
        self.max_inflight = calls;
        self
    }
}

/// How a service stands with one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReverseState {
    /// Not connected; it tries for ever. The last refusal is there for people.
    Connecting {
        /// Why the last connection ended or was refused, if there was one.
        refusal: Option<String>,
    },
    /// Connected, under this id.
    Connected(String),
    /// Stopped.
    Stopped,
}

/// A service that gateways call over streams it opened itself. Dropping it ends
/// it at once; [`close`](Host::close) lets calls in flight finish.
///
/// A gateway that goes away is dialled again for ever, with full jitter and a new
/// connection id each time. The gateways join the registry for it.
pub struct ReverseServer {
    services: Vec<ServiceName>,
    is_guarded: bool,
    states: Vec<watch::Receiver<ReverseState>>,
    closing: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

/// Before a gateway is dialled again: at first, and at most.
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(5);

impl ReverseServer {
    /// Serves `handler` under these names to every gateway.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: each gateway has a task.
    pub fn start(
        services: Vec<ServiceName>,
        gateways: Vec<Channel>,
        handler: Arc<dyn Handler>,
        options: ReverseOptions,
    ) -> Self {
        let closing = watch::Sender::new(false);
        let is_guarded = handler.is_guarded();
        let shared = Arc::new(Shared::new(services.clone(), handler, options));
        let mut tasks = JoinSet::new();
        let mut states = Vec::new();
        for gateway in gateways {
            let (state, seen) = watch::channel(ReverseState::Connecting { refusal: None });
            states.push(seen);
            tasks.spawn(keep(Arc::clone(&shared), gateway, state, closing.subscribe()));
        }
        Self { services, is_guarded, states, closing, tasks: tokio::sync::Mutex::new(tasks) }
    }

    /// How it stands with each gateway, in the order they were given.
    pub fn states(&self) -> &[watch::Receiver<ReverseState>] {
        &self.states
    }

    /// Returns once it is connected to every gateway.
    pub async fn connected(&self) {
        for state in &self.states {
            let settled = |state: &ReverseState| !matches!(state, ReverseState::Connecting { .. });
            let _ = state.clone().wait_for(settled).await; // It has stopped.
        }
    }
}

/// Connected to one gateway, again and again.
async fn keep(
    shared: Arc<Shared>,
    gateway: Channel,
    state: watch::Sender<ReverseState>,
    mut closing: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(FIRST, MOST, fastrand::u64(..));
    while !*closing.borrow() {
        let session = Session::new(Arc::clone(&shared), gateway.clone(), &state);
        let refusal = match session.run(&mut closing).await {
            Ok(()) => None,
            Err(status) => Some(format!("{:?}: {}", status.code(), status.message())),
        };
        if let ReverseState::Connected(_) = *state.borrow() {
            backoff.reset();
        }
        if let Some(refusal) = &refusal {
            tracing::warn!(refusal, "the connection to a gateway ended");
        }
        state.send_replace(ReverseState::Connecting { refusal });
        tokio::select! {
            () = sleep(backoff.next_delay()) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    state.send_replace(ReverseState::Stopped);
}

#[async_trait]
impl Host for ReverseServer {
    /// Names without addresses: those are the gateways' to give.
    fn offers(&self) -> Vec<Offer> {
        self.services.iter().map(|service| Offer::at(service.clone(), None)).collect()
    }

    fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
    }
}

impl Debug for ReverseServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseServer").field("services", &self.services).finish_non_exhaustive()
    }
}
