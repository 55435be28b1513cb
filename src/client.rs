//! The one handle of a service: join, follow, call, leave.

use std::sync::Arc;
use std::time::Duration;

use registry_api::call::Caller;
use registry_api::{
    Clock, Error, ErrorKind, InstanceSpec, Owner, Registration, RegistrationMode, Registry, Result,
    ServiceName, ServiceSpec,
};

use crate::channel::{Channel, ChannelOptions};
use crate::clock::SystemClock;
use crate::membership::{Declaration, Driver, Membership, Pulse, Pulsing};
use crate::opener::Opener;
use crate::view::{Followed, Probe, ServiceView, TcpProbe, Views};

/// A handle on a registry for services and callers. Cloning shares it.
///
/// All memberships of a client share one task, which connects and beats for
/// them in batches, and all followers of a service share one watch. They live
/// until they leave or are dropped, also after the client itself is gone.
#[derive(Clone, Debug)]
pub struct Client {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    driver: Driver,
    views: Arc<Views>,
    _pulse: Option<Arc<Pulsing>>,
}

/// How a client behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Times beats and retries, and judges where this process is the judge.
    pub clock: Arc<dyn Clock>,
    /// Looks for instances that the registry has lost sight of.
    pub probe: Arc<dyn Probe>,
    /// How long the application's runtime may run nothing before its instances
    /// are no longer kept alive; never less than four times their ttl. Only
    /// where beats have a thread of their own.
    pub stall_limit: Duration,
}

impl Default for ClientOptions {
    /// The process's clock, TCP probes, one minute.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            probe: Arc::new(TcpProbe::default()),
            stall_limit: Duration::from_secs(60),
        }
    }
}

impl ClientOptions {
    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the probe.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = probe;
        self
    }

    /// Sets the stall limit.
    #[must_use]
    pub fn with_stall_limit(mut self, limit: Duration) -> Self {
        self.stall_limit = limit;
        self
    }
}

/// A service, and how fresh that knowledge is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// What is known of it.
    pub followed: Arc<Followed>,
    /// How long ago the registry last confirmed it.
    pub age: Duration,
}

impl Client {
    /// A client of the registry a URL names; see [`open`](crate::open).
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, ClientOptions::default()).await
    }

    /// [`open`](Self::open) with options.
    pub async fn open_with(url: &str, options: ClientOptions) -> Result<Self> {
        let opener = Opener::url(url, Arc::clone(&options.clock)).await?;
        Self::from_opener(opener, options).await
    }

    /// A client with two handles: one for the caller's runtime, and one for
    /// beats, on a thread and a runtime of its own, so that a process that is
    /// busy for a while is not taken for a dead one.
    pub async fn from_opener(opener: Opener, options: ClientOptions) -> Result<Self> {
        let registry = opener.open().await?;
        let (pulse, pulsing) = Pulse::start(Arc::clone(&options.clock), options.stall_limit);
        let driver = Driver::start_apart(opener, Arc::clone(&options.clock), pulse);
        let driver = driver.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no thread for heartbeats could be started")
                .because(error)
        })?;
        Ok(Self::with_driver(registry, driver, Some(Arc::new(pulsing)), options))
    }

    /// A client of one open handle, which beats on the caller's runtime too: a
    /// process that blocks it for longer than its ttl loses its leases.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: it beats from a task of its own.
    pub fn new(registry: Arc<dyn Registry>, options: ClientOptions) -> Self {
        let driver = Driver::start(Arc::clone(&registry), Arc::clone(&options.clock));
        Self::with_driver(registry, driver, None, options)
    }

    fn with_driver(
        registry: Arc<dyn Registry>,
        driver: Driver,
        pulse: Option<Arc<Pulsing>>,
        options: ClientOptions,
    ) -> Self {
        let ClientOptions { clock, probe, .. } = options;
        let views = Arc::new(Views::new(Arc::clone(&registry), Arc::clone(&clock), probe));
        Self { registry, clock, driver, views, _pulse: pulse }
    }

    /// Declares services of an owner and keeps them declared, beside what else
    /// the owner declared: also a registry that lost everything gets them back.
    pub fn declare(&self, owner: Owner, services: Vec<ServiceSpec>) -> Declaration {
        self.driver.declare(Registration::new(owner, RegistrationMode::Merge, services))
    }

    /// Joins with an instance and keeps it joined: beats, reconnects for ever.
    pub fn join(&self, instance: InstanceSpec) -> Membership {
        self.driver.join(instance)
    }

    /// Follows a service, to pick from.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn follow(&self, service: &ServiceName) -> ServiceView {
        self.views.follow(service)
    }

    /// What is followed now.
    pub fn following(&self) -> Vec<ServiceView> {
        self.views.all()
    }

    /// What is known of a service: the first time from the registry, from then
    /// on from what was last seen, however long the registry is away. A service
    /// stays followed as long as somebody keeps a view of it, or asked for it
    /// within the last minute.
    ///
    /// Errors: `NotFound` where the registry answered that it has neither a
    /// declaration nor an instance; the registry's own error where it has never
    /// answered.
    pub async fn resolve(&self, service: &ServiceName) -> Result<Resolved> {
        let view = self.follow(service);
        view.ready().await?;
        let resolved = Resolved { followed: view.current(), age: view.age() };
        match resolved.followed.is_unknown() {
            true => Err(Error::new(ErrorKind::NotFound, "there is no such service")
                .with("service", service)),
            false => {
                self.views.keep(&view);
                Ok(resolved)
            }
        }
    }

    /// A way to call a service over `caller`: picks instances, retries what is
    /// safe, protects them and the caller.
    pub fn channel(
        &self,
        service: &ServiceName,
        caller: Arc<dyn Caller>,
        options: ChannelOptions,
    ) -> Channel {
        Channel::new(self.follow(service), caller, Arc::clone(&self.clock), options)
    }

    /// The registry itself.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }

    /// The clock that times everything here.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
