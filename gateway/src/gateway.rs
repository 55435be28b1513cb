//! A gateway as a value: started, told to stop.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use portolan::access::Access;
use portolan::call::{Caller, Host};
use portolan::grpc::{
    Forwarder, GrpcCaller, Identity, ReverseCaller, Switchboard, SwitchboardOptions,
};
use portolan::h2::AmqpCaller;
use portolan::http::HttpCaller;
use portolan::thrift::{RegistryHandler, ThriftCaller, ThriftHost, idl};
use portolan::{
    AddressPolicy, ChannelOptions, Client, ClientOptions, Clock, Error, InstanceId, KeyAccess,
    Membership, OpenAccess, Opener, Registry, SystemClock, TcpProbe, Timeouts, Wires,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic_health::server::HealthReporter;
use uuid::Uuid;

use crate::admin::{self, Admin};
use crate::bus::{self, Bus};
use crate::config::Config;
use crate::control::{self, Plane};
use crate::dispatch::{Callers, Dispatcher};
use crate::easyops;
use crate::etcd_v2::{self, EtcdV2};
use crate::front::Front;
use crate::gateways;
use crate::grpc::{self, Parts};

use crate::listen::{Secure, Serving};
use crate::listeners::Listeners;
use crate::metrics::Metrics;
use crate::thin::{self, Thin};
use crate::tls::Tls;
use crate::vouch::Voucher;

/// A running gateway. Dropping it ends it at once; [`stop`](Self::stop) drains.
#[derive(Debug)]
pub struct Gateway {
    /// Where the control and data plane listens.
    pub http: SocketAddr,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// Where the registry itself is served over Thrift, if it is.
    pub thrift: Option<SocketAddr>,
    /// Where go-easyops finds its registry in the clear and over TLS, if it does.
    pub easyops: Option<[SocketAddr; 2]>,
    serving: Vec<Serving>,
    registry: Option<ThriftHost>,
    bus: Option<Bus>,
    state: Arc<Admin>,
    reporter: HealthReporter,
    presence: Membership,
    switchboard: Switchboard,
    _tasks: JoinSet<()>,
    _tls: Option<Tls>,
    _hprose: Option<etcd_v2::Following>,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be bound.
    Bind(&'static str, SocketAddr, std::io::Error),
    /// The broker of H2's services could not be used.
    Broker(Error),
    /// The registry could not be opened.
    Registry(Error),
}

/// The time of a call where neither its caller nor an SLA says.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in flight may take when the gateway stops.
const DRAIN: Duration = Duration::from_secs(10);

impl Gateway {
    /// Opens the registry and the listeners; returns when all of them accept.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let opener = Opener::url(&config.backend, Arc::clone(&clock)).await?;
        let probe = Arc::new(TcpProbe::new(config.address_policy()?));
        let options = ClientOptions::default().with_clock(Arc::clone(&clock)).with_probe(probe);
        let client = Client::from_opener(opener, options).await?;
        let registry = Arc::clone(client.registry());
        let listeners = Listeners::bind(config).await?;
        let easyops_addresses = listeners.easyops();
        let identity = config.easyops.map(|_| easyops::identity(&config.easyops_key));
        let identity = identity.transpose()?;

        let metrics = Arc::new(Metrics::new());
        let access = Arc::new(KeyAccess::new(
            Arc::clone(&registry),
            Arc::clone(&clock),
            config.master_api_key.as_ref(),
        ));
        access.refresh().await?; // A registry that cannot be read is no start.
        let thrift = match config.thrift {
            Some(address) => Some(serve_registry(config, address, &registry, &access).await?),
            None => None,
        };
        let thrift_address = thrift.as_ref().and_then(ThriftHost::local_addr);
        let mut policy = config.address_policy()?;
        for own in listeners.addresses().chain(thrift_address) {
            policy = policy.refuse_listener(own);
        }
        let Listeners { http, grpc, admin, easyops } = listeners;
        let (http_address, grpc_address, admin_address) =
            (http.address, grpc.address, admin.address);
        let id = InstanceId::parse(&Uuid::new_v4().to_string())?;
        let switchboard =
            SwitchboardOptions::default().with_heartbeat_timeout(config.grpc_heartbeat_timeout);
        let switchboard = Switchboard::new(id.as_str(), switchboard);
        let amqp = bus::caller(config);
        let more = Others { amqp: amqp.as_ref(), easyops: identity.as_ref() };
        let callers = callers(config, &policy, &switchboard, &client, &more)?;
        let voucher = Voucher::open(config.identity.as_deref(), &config.authorities)?;
        let callers = Callers {
            thrift: voucher.sign(callers.thrift),
            protobuf: voucher.sign(callers.protobuf),
        };
        let options = channel_options().with_counters(Arc::clone(metrics.channels()));
        let idls = idl::Cache::default();
        let dispatcher = Dispatcher::new(client.clone(), callers, options, idls.clone());
        let dispatcher = Arc::new(dispatcher);
        let plane = Arc::new(Plane {
            registry: Arc::clone(&registry),
            access,
            dispatcher: Arc::clone(&dispatcher),
            idls,
            forward: config.forward()?,
            voucher: Arc::new(voucher),
            policy,
            terms: config.terms,
            metrics: Arc::clone(&metrics),
            known: control::known_instances(),
        });
        let bus = Bus::start(config, &client, &plane.access).await.map_err(StartError::Broker)?;
        let draining = watch::Sender::new(false);
        let thin = amqp.map(|caller| Thin::new(Arc::clone(&plane), config, caller));
        let thin = thin.transpose().map_err(StartError::Broker)?;
        let face = config.hprose.then(|| Arc::new(etcd_v2::Face::new(draining.subscribe())));
        let routes = routes(&plane, thin.clone(), face.clone());
        let hprose = face.map(|face| etcd_v2::Following::start(face, Arc::clone(&registry)));
        let state =
            Arc::new(Admin { registry, client: client.clone(), dispatcher, metrics, draining });
        let (grpc_router, reporter) =
            grpc::router(Parts::new(config, grpc_address, &plane, &client, switchboard.clone())?)
                .await;
        let mut serving = Vec::new();
        let mut tasks = JoinSet::new();
        if let (Some(both), Some(identity)) = (easyops, &identity) {
            let easyops = easyops::serve(config, &plane, identity, both)?;
            serving.extend(easyops.serving);
            tasks = easyops.tasks;
        }
        let tls = config.grpc_tls.clone().map(Tls::open).transpose();
        let tls = tls.map_err(|error| StartError::Bind("grpc", grpc_address, error))?;
        let secure =
            tls.as_ref().map(|tls| Secure { acceptor: tls.acceptor(), only: config.grpc_tls_only });
        let advertised = config.advertise.as_deref();
        let own = gateways::presence(id, http_address, grpc_address, tls.is_some(), advertised)?;
        serving.extend([
            http.serve_with(Front::new(plane, routes, thin)),
            grpc.serve_secure(grpc_router, secure),
            admin.serve(admin::router(Arc::clone(&state))),
        ]);
        Ok(Self {
            http: http_address,
            grpc: grpc_address,
            admin: admin_address,
            thrift: thrift_address,
            registry: thrift,
            bus,
            easyops: easyops_addresses,
            serving,
            state,
            reporter,
            presence: client.join(own),
            switchboard,
            _tasks: tasks,
            _tls: tls,
            _hprose: hprose,
        })
    }

    /// Says that it is draining, stops accepting, lets what is in flight finish
    /// and leaves the registry.
    pub async fn stop(self) {
        self.state.draining.send_replace(true);
        grpc::drain(&self.reporter).await;
        self.presence.drain();
        let _ = timeout(DRAIN, self.switchboard.drain()).await; // What is left is dropped.
        if let Some(bus) = self.bus {
            let _ = timeout(DRAIN, bus.close()).await; // What is left is dropped.
        }
        if let Some(host) = &self.registry {
            let _ = timeout(DRAIN, host.close()).await; // What is left is dropped.
        }
        let drained = self.serving.into_iter().map(|serving| serving.drain(DRAIN));
        futures_util::future::join_all(drained).await;
        if let Err(error) = self.presence.leave().await {
            tracing::warn!(%error, "the registry could not be told that the gateway leaves");
        }
    }
}

/// The routes of the HTTP listener: those of whoever was asked for go before the guide's.
fn routes(plane: &Arc<Plane>, thin: Option<Thin>, face: Option<Arc<etcd_v2::Face>>) -> Router {
    let mut routes = control::router(Arc::clone(plane));
    if let Some(thin) = thin {
        routes = thin::router(thin.clone())
            .fallback_service(routes.fallback(move |request| thin.path(request)));
    }
    if let Some(face) = face {
        let state = EtcdV2 { plane: Arc::clone(plane), face };
        routes = etcd_v2::router(state).fallback_service(routes);
    }
    routes
}

/// Every policy with its default, and the time that people wait.
fn channel_options() -> ChannelOptions {
    ChannelOptions::default().with_timeouts(Timeouts::default().with_usual(CALL_TIMEOUT))
}

/// The registry over Thrift. Without a master key, which would make keys mean
/// something to everybody, only this machine can reach it, and may do all.
async fn serve_registry(
    config: &Config,
    address: SocketAddr,
    registry: &Arc<dyn Registry>,
    access: &Arc<KeyAccess>,
) -> Result<ThriftHost, StartError> {
    let access: Arc<dyn Access> = match config.master_api_key {
        Some(_) => Arc::<KeyAccess>::clone(access),
        None => Arc::new(OpenAccess),
    };
    let name = portolan::namespace_of(&config.backend)?;
    let handler = RegistryHandler::new(access).with_namespace(name, Arc::clone(registry));
    let served = handler.serve(address).await;
    served.map_err(|error| StartError::Bind("thrift", address, error))
}

/// What ecosystems are called with that are there only where somebody asked for them.
struct Others<'a> {
    amqp: Option<&'a Arc<AmqpCaller>>,
    easyops: Option<&'a Arc<Identity>>,
}

/// The wires, by what they carry. Connections of other gateways are called
/// through them, where there is a secret to prove who asks.
fn callers(
    config: &Config,
    policy: &AddressPolicy,
    switchboard: &Switchboard,
    client: &Client,
    others: &Others<'_>,
) -> portolan::Result<Callers> {
    let security = config.security()?;
    let mut reverse = ReverseCaller::new(switchboard.clone());
    if let Some(secret) = &config.cluster_secret {
        let (view, over_tls) = (client.follow(&gateways::service()), security.clone());
        let find = move |id: &str| gateways::find(&view, id, &over_tls);
        let forwarder = Forwarder::new(secret.clone(), Box::new(find));
        reverse = reverse.with_elsewhere(Arc::new(forwarder));
    }
    let thrift = ThriftCaller::new(policy.clone(), config.caller_options());
    let direct = GrpcCaller::new(policy.clone(), security);
    let http = HttpCaller::new(policy.clone());
    let mut protobuf: Vec<Arc<dyn Caller>> =
        vec![Arc::new(reverse), Arc::new(direct), Arc::new(http)];
    if let Some(caller) = others.amqp {
        protobuf.push(Arc::<AmqpCaller>::clone(caller));
    }
    if let Some(identity) = others.easyops {
        protobuf.push(Arc::new(GrpcCaller::easyops(policy.clone(), Arc::clone(identity))?));
    }
    Ok(Callers { thrift: Arc::new(thrift), protobuf: Arc::new(Wires::new(protobuf)) })
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
            Self::Broker(error) => write!(f, "amqp: {error}"),
            Self::Registry(error) => write!(f, "backend: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
