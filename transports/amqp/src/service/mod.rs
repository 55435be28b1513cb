//! A service of H2 written in Rust: endpoints, who may call them, and all that an
//! instance has to do at its broker.
//!
//! Facts: HailoOSS `platform` at 39e911a, `server/`; `service` at 67f4a39.

mod about;
mod capacity;
mod desk;
mod endpoint;
mod registration;
mod report;
mod rule;
mod sample;
mod session;
mod wall;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use registry_api::call::Host;
use registry_api::{Error, Result, ServiceName};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::about::{About, BUILT_IN};
use self::capacity::Capacity;
use self::desk::Desk;
pub use self::endpoint::{Asked, Endpoint};
use self::registration::Registration;
pub use self::rule::Rule;
pub use self::session::{Login, User};
use crate::bus::Broker;
use crate::caller::AmqpCaller;
use crate::discovery::model::{self, MultiRequest};
use crate::host::{AmqpHost, HostOptions};
use crate::names::{Prefix, server_queue};
use crate::sending::CallerOptions;

/// A service, before it runs.
///
/// ```no_run
/// # async fn run() -> registry_api::Result<()> {
/// use portolan_amqp::{Asked, Broker, Endpoint, PlatformError, Rule, Service};
/// # #[derive(Clone, PartialEq, prost::Message)] struct Request {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct Response {
/// #     #[prost(string, optional, tag = "1")] message: Option<String> }
///
/// async fn hello(_: Asked<Request>) -> Result<Response, PlatformError> {
///     Ok(Response { message: Some("Hello World".to_owned()) })
/// }
///
/// let hello = Endpoint::protobuf("hello", hello).with_rule(Rule::Open);
/// let service = Service::new("com.hailocab.service.example").with_endpoint(hello);
/// let running = service.run(Broker::parse("amqp://hailo:hailo@localhost/")?).await?;
/// running.registered().await;
/// # running.stop().await; Ok(()) }
/// ```
#[derive(Clone)]
pub struct Service {
    name: String,
    about: model::Service,
    endpoints: Vec<Endpoint>,
    checks: Vec<(String, Arc<Check>)>,
    prefix: Prefix,
    per_caller: usize,
    login_key: Option<String>,
    trusts_authorised: bool,
    drain: Duration,
}

/// Whether something is well, or what is not.
type Check = dyn Fn() -> Result<(), String> + Send + Sync;

/// An instance of a [`Service`] at work. Dropping it ends it at once;
/// [`stop`](Self::stop) lets calls in flight finish.
pub struct Running {
    host: AmqpHost,
    instance: String,
    registration: Arc<Registration>,
    registered: watch::Receiver<bool>,
    _keeping: AbortOnDropHandle<()>,
}

/// Calls at a time of one calling service.
const PER_CALLER: usize = 1_000;
/// Of all of them, for each of one.
const CALLERS: usize = 8;
/// H2 gives calls in flight so long.
const DRAIN: Duration = Duration::from_secs(60);

impl Service {
    /// A service of this name, which begins with the platform's prefix.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            about: model::Service { name: name.clone(), ..model::Service::default() },
            name,
            endpoints: Vec::new(),
            checks: Vec::new(),
            prefix: Prefix::default(),
            per_caller: PER_CALLER,
            login_key: None,
            trusts_authorised: false,
            drain: DRAIN,
        }
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Sets what it is, for people.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.about.description = Some(description.into());
        self
    }

    /// Sets its version: a number that grows, in H2 the time of the build, like
    /// 20130624113616.
    #[must_use]
    pub fn with_version(mut self, version: u64) -> Self {
        self.about.version = version;
        self
    }

    /// Sets where its source is.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.about.source = source.into();
        self
    }

    /// Sets whom to ask about it: an address for mail, a number, a team.
    #[must_use]
    pub fn with_owner(mut self, email: &str, mobile: &str, team: &str) -> Self {
        self.about.owner_email = email.to_owned();
        self.about.owner_mobile = mobile.to_owned();
        self.about.owner_team = Some(team.to_owned());
        self
    }

    /// Adds something that is looked at whenever `health` is asked; the error says
    /// what is not well. It must not block.
    #[must_use]
    pub fn with_health_check(
        mut self,
        id: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((id.into(), Arc::new(check)));
        self
    }

    /// Sets what the platform's own names begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets how many calls at a time one calling service may have; 1,000 otherwise.
    /// More wait for the mean time of their endpoint, and are then refused.
    #[must_use]
    pub fn with_capacity_per_caller(mut self, calls: usize) -> Self {
        self.per_caller = calls.max(1);
        self
    }

    /// Believes in sessions that `PREFIX.service.login` tells and that are signed by
    /// this key, the login service's RSA public key as PEM. Without it nobody is signed
    /// in.
    #[must_use]
    pub fn with_login_key(mut self, pem: impl Into<String>) -> Self {
        self.login_key = Some(pem.into());
        self
    }

    /// Believes a sender without a session who says that it may. H2's own services do:
    /// whoever can publish at the broker can say so, so this is off.
    #[must_use]
    pub fn with_trust_in_authorised(mut self, trusts: bool) -> Self {
        self.trusts_authorised = trusts;
        self
    }

    /// Sets how long calls in flight may take when it stops; a minute otherwise.
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Runs an instance: returns when it can be called, and registers it with discovery
    /// for as long as it lives.
    ///
    /// Errors: `InvalidArgument` for a name, an endpoint or a key that cannot be;
    /// `Unavailable` where the broker cannot be used.
    pub async fn run(self, broker: Broker) -> Result<Running> {
        let name = ServiceName::parse(&self.name)?;
        self.check()?;
        let key = self.login_key.as_deref().map(session::public_key).transpose()?;
        let asks = CallerOptions::default().with_from(&*self.name);
        let caller = Arc::new(AmqpCaller::new(broker.clone(), asks));
        let login =
            key.map(|key| Login::with_key(Arc::clone(&caller), &self.prefix, key)).transpose()?;
        let topics = self.endpoints.iter().filter(|endpoint| endpoint.is_subscriber);
        let mut options = HostOptions::default()
            .with_prefix(self.prefix.clone())
            .with_topics(topics.map(|endpoint| endpoint.name.clone()))
            .with_max_inflight(self.per_caller.saturating_mul(CALLERS));
        options.drain = self.drain;
        let prefix = self.prefix.clone();
        let queue = server_queue(&self.name);
        let (desk, told) = self.desk(login, &queue);
        let host = AmqpHost::serve_as(queue.clone(), name, broker, desk, options).await?;
        let registration = Arc::new(Registration::new(caller, &prefix, told)?);
        let (tell, registered) = watch::channel(false);
        let keeping = {
            let (registration, pings) = (Arc::clone(&registration), host.pings());
            tokio::spawn(async move { registration.keep(pings, &tell).await })
        };
        Ok(Running {
            host,
            instance: queue,
            registration,
            registered,
            _keeping: AbortOnDropHandle::new(keeping),
        })
    }

    /// What answers calls, and what discovery is told.
    fn desk(mut self, login: Option<Login>, queue: &str) -> (Arc<Desk>, MultiRequest) {
        let place = Place::here();
        let about = About::new(self.about, place, queue.to_owned(), self.checks, &self.endpoints);
        self.endpoints.extend(about.endpoints());
        let told = MultiRequest {
            instance_id: queue.to_owned(),
            hostname: about.place.hostname.clone(),
            az_name: about.place.az_name.clone(),
            service: about.service.clone(),
            endpoints: self.endpoints.iter().map(Endpoint::told).collect(),
            machine_class: about.place.machine_class.clone(),
        };
        let named = |endpoint: Endpoint| (endpoint.name.clone(), endpoint);
        let desk = Desk {
            about,
            endpoints: self.endpoints.into_iter().map(named).collect(),
            capacity: Capacity::new(self.per_caller),
            login,
            trusts_authorised: self.trusts_authorised,
            prefix: self.prefix,
        };
        (Arc::new(desk), told)
    }

    /// What discovery, or H2's own server, would refuse.
    fn check(&self) -> Result<()> {
        if !self.name.starts_with(&self.prefix.name("")) {
            let rule = format!("must begin with {}", self.prefix.name(""));
            return Err(Error::invalid("service", rule));
        }
        let mut names = HashMap::new();
        for endpoint in &self.endpoints {
            let name = &endpoint.name;
            if name.is_empty() || name.len() > 255 || name.chars().any(char::is_uppercase) {
                let rule = format!("{name:?} must have 1 to 255 bytes and no capitals");
                return Err(Error::invalid("endpoint", rule));
            }
            if names.insert(name, ()).is_some() || BUILT_IN.contains(&&**name) {
                return Err(Error::invalid("endpoint", format!("{name:?} is there twice")));
            }
        }
        Ok(())
    }
}

/// Where an instance is.
#[derive(Clone, Debug)]
struct Place {
    hostname: String,
    az_name: String,
    machine_class: Option<String>,
}

impl Place {
    /// As H2's own services find out.
    fn here() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
        Self {
            hostname: read("/proc/sys/kernel/hostname"),
            az_name: read("/etc/h2o/azname"),
            machine_class: std::env::var("H2O_MACHINE_CLASS").ok(),
        }
    }
}

impl Running {
    /// The id of the instance, which is its queue.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns when discovery has registered it: its own callers reach it before.
    pub async fn registered(&self) {
        let mut registered = self.registered.clone();
        let _ = registered.wait_for(|registered| *registered).await; // It has not ended.
    }

    /// Leaves discovery, is chosen no more, and lets calls in flight finish.
    pub async fn stop(self) {
        drop(self._keeping);
        self.registration.leave().await;
        self.host.close().await;
    }
}

impl Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Service");
        shown.field("name", &self.name).field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("instance", &self.instance).finish_non_exhaustive()
    }
}
