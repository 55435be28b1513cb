//! Discovery for services of H2 that know nothing of Portolan: they register here, are
//! pinged and bound, and are instances of the registry like all others.
//!
//! Facts: HailoOSS `discovery-service` at 1bd406c; `platform` at 39e911a,
//! `server/discovery.go`.

mod binder;
mod desk;
mod forwarder;
pub(crate) mod model;
mod news;
mod pulse;
mod record;
mod slas;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use registry_api::call::Host;
use registry_api::{LeaseTerms, Registry, Result, ServiceName};
use tokio_util::task::AbortOnDropHandle;

use self::binder::Binder;
use self::desk::Desk;
use self::pulse::Pulse;
use crate::bus::Broker;
use crate::host::{AmqpHost, HostOptions};
use crate::names::Prefix;

/// How discovery behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiscoveryOptions {
    /// What the platform's own names begin with, and those of the services that may
    /// register.
    pub prefix: Prefix,
    /// Between two pings of an instance. One that does not answer is offline after two
    /// and a half of them, and gone after three and a half.
    pub ping_every: Duration,
}

impl Default for DiscoveryOptions {
    /// `com.hailocab`, 10 s.
    fn default() -> Self {
        Self { prefix: Prefix::default(), ping_every: Duration::from_secs(10) }
    }
}

impl DiscoveryOptions {
    /// Sets what names begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets the time between two pings.
    #[must_use]
    pub fn with_ping_every(mut self, every: Duration) -> Self {
        self.ping_every = every;
        self
    }

    fn terms(&self) -> Result<LeaseTerms> {
        LeaseTerms::new(self.ping_every * 5 / 2, self.ping_every * 7 / 2)
    }
}

/// The service `PREFIX.kernel.discovery` at a broker. There may be several on one
/// registry: each of them pings and binds all instances.
pub struct Discovery {
    host: AmqpHost,
    _pulse: AbortOnDropHandle<()>,
    _binder: AbortOnDropHandle<()>,
}

impl Discovery {
    /// Serves discovery on what `registry` has; returns when it can be called.
    ///
    /// Errors: `InvalidArgument` for times that are no lease; `Unavailable` where the
    /// broker cannot be used.
    pub async fn serve(
        registry: Arc<dyn Registry>,
        broker: Broker,
        options: DiscoveryOptions,
    ) -> Result<Self> {
        let terms = options.terms()?;
        let service = ServiceName::parse(&options.prefix.name("kernel.discovery"))?;
        let desk = Desk::new(Arc::clone(&registry), options.prefix.clone(), terms);
        let prefix = options.prefix.clone();
        let hosting = HostOptions::default().with_prefix(options.prefix);
        let host = AmqpHost::serve(service, broker.clone(), Arc::new(desk), hosting).await?;
        let every = options.ping_every;
        let binder = Binder::new(Arc::clone(&registry), broker.clone(), prefix, every / 2)?;
        let pulse = Pulse::new(registry, broker, every);
        Ok(Self {
            host,
            _pulse: AbortOnDropHandle::new(tokio::spawn(pulse.run())),
            _binder: AbortOnDropHandle::new(tokio::spawn(binder.run())),
        })
    }

    /// As what it may join the registry, so that others than H2's callers find it.
    pub fn host(&self) -> &AmqpHost {
        &self.host
    }

    /// Takes no more registrations, and answers those it has. Pings and bindings go on
    /// until it is dropped.
    pub async fn close(&self) {
        self.host.close().await;
    }
}

impl Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("host", &self.host).finish_non_exhaustive()
    }
}
