//! A gateway as a value: started, told to stop.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan::thrift::{ThriftCaller, idl};
use portolan::{
    Address, Client, Clock, Error, InstanceId, InstanceSpec, KeyAccess, Membership, Offer,
    ServiceName, SystemClock,
};
use tokio::sync::watch;
use tonic_health::server::HealthReporter;
use uuid::Uuid;

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::control::{self, Plane};
use crate::dispatch::Dispatcher;
use crate::grpc;
use crate::listen::{Listener, Serving};
use crate::metrics::Metrics;

/// A running gateway. Dropping it ends it at once; [`stop`](Self::stop) drains.
#[derive(Debug)]
pub struct Gateway {
    /// Where the control and data plane listens.
    pub http: SocketAddr,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    serving: [Serving; 3],
    state: Arc<Admin>,
    reporter: HealthReporter,
    presence: Membership,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be bound.
    Bind(&'static str, SocketAddr, std::io::Error),
    /// The registry could not be opened.
    Registry(Error),
}

/// How long requests in flight may take when the gateway stops.
const DRAIN: Duration = Duration::from_secs(10);

impl Gateway {
    /// Opens the registry and the listeners; returns when all of them accept.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let registry = portolan::open_with(&config.backend, Arc::clone(&clock)).await?;
        let bind = |name, address| async move {
            let bound = Listener::bind(address).await;
            bound.map_err(|error| StartError::Bind(name, address, error))
        };
        let http = bind("http", config.http).await?;
        let grpc = bind("grpc", config.grpc).await?;
        let admin = bind("admin", config.admin).await?;
        let (http_address, grpc_address, admin_address) =
            (http.address, grpc.address, admin.address);

        let mut policy = config.address_policy()?;
        for own in [http_address, grpc_address, admin_address] {
            policy = policy.refuse_listener(own);
        }
        let metrics = Arc::new(Metrics::new());
        let client = Client::new(Arc::clone(&registry), Arc::clone(&clock));
        let access = KeyAccess::new(
            Arc::clone(&registry),
            Arc::clone(&clock),
            config.master_api_key.as_ref(),
        );
        access.refresh().await?; // A registry that cannot be read is no start.
        let caller = ThriftCaller::new(policy.clone(), config.caller_options());
        let idls = idl::Cache::default();
        let plane = Arc::new(Plane {
            registry: Arc::clone(&registry),
            access,
            dispatcher: Dispatcher::new(client.clone(), caller, idls.clone()),
            idls,
            forward: config.forward()?,
            policy,
            terms: config.terms,
            metrics: Arc::clone(&metrics),
            known: control::known_instances(),
        });
        let state = Arc::new(Admin { registry, metrics, draining: watch::Sender::new(false) });
        let (grpc_router, reporter) = grpc::router().await;
        Ok(Self {
            http: http_address,
            grpc: grpc_address,
            admin: admin_address,
            serving: [
                http.serve(control::router(plane)),
                grpc.serve(grpc_router),
                admin.serve(admin::router(Arc::clone(&state))),
            ],
            state,
            reporter,
            presence: client.join(own_presence(http_address)?),
        })
    }

    /// Leaves the registry, stops accepting and lets what is in flight finish.
    pub async fn stop(self) {
        self.state.draining.send_replace(true);
        grpc::drain(&self.reporter).await;
        if let Err(error) = self.presence.leave().await {
            tracing::warn!(%error, "the registry could not be told that the gateway leaves");
        }
        let drained = self.serving.map(|serving| serving.drain(DRAIN));
        futures_util::future::join_all(drained).await;
    }
}

/// Gateways are instances too. One that listens on all addresses does not know
/// which of them others can reach, so it names none.
fn own_presence(http: SocketAddr) -> portolan::Result<InstanceSpec> {
    let service = ServiceName::parse("portolan.gateway")?;
    let address = match http.ip() {
        ip if ip.is_unspecified() => None,
        ip => Some(Address::host("http", &ip.to_string(), http.port())?),
    };
    let id = InstanceId::parse(&Uuid::new_v4().to_string())?;
    let offer = Offer::at(service, address).with_version(env!("CARGO_PKG_VERSION"));
    Ok(InstanceSpec::new(id, [offer]))
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Registry(error)
    }
}

impl Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(name, address, error) => {
                write!(f, "{name}: cannot listen on {address}: {error}")
            }
            Self::Registry(error) => write!(f, "backend: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
