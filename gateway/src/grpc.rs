//! The gRPC listener: everything on one port.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use portolan::access::{Access, Desk};
use portolan::grpc::{
    ClusterSecret, Dispatch, Forwarded, FrontDoor, Reception, RegistryService, ReverseService,
    Switchboard,
};
use portolan::{Client, GuestAccess, Guests, KeyAccess, OpenAccess, Owner, Registry};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::control::Plane;
use crate::reception::FrontDesk;
use crate::rpc::Rpc;

/// What is served.
pub(crate) struct Parts {
    pub(crate) registry: RegistryService,
    pub(crate) switchboard: Switchboard,
    pub(crate) reception: Arc<dyn Reception>,
    pub(crate) dispatch: Arc<dyn Dispatch>,
    /// Where several gateways are one.
    pub(crate) secret: Option<ClusterSecret>,
}

impl Parts {
    /// What a gateway serves at this address.
    pub(crate) fn new(
        config: &Config,
        at: SocketAddr,
        plane: &Plane,
        client: &Client,
        switchboard: Switchboard,
    ) -> portolan::Result<Self> {
        let (registry, keys) = (&plane.registry, &plane.access);
        let asked = desk(registry_access(config, at, keys), config, registry)?;
        let reception = FrontDesk {
            namespace: portolan::namespace_of(&config.backend)?,
            desk: desk(service_access(config, at, keys)?, config, registry)?,
            client: client.clone(),
            dispatcher: Arc::clone(&plane.dispatcher),
            policy: plane.policy.clone(),
        };
        Ok(Self {
            registry: RegistryService::new(Arc::new(asked)),
            switchboard,
            reception: Arc::new(reception),
            dispatch: Arc::new(Rpc::of(plane)),
            secret: config.cluster_secret.clone(),
        })
    }
}

fn desk(
    access: Arc<dyn Access>,
    config: &Config,
    registry: &Arc<dyn Registry>,
) -> portolan::Result<Desk> {
    let name = portolan::namespace_of(&config.backend)?;
    Ok(Desk::new(access).with_namespace(name, Arc::clone(registry)))
}

/// Who may ask the registry itself over gRPC. Without a master key, which would
/// make keys mean something to everybody, only whoever is on this machine, or was
/// let in on purpose, and they may do all.
fn registry_access(config: &Config, grpc: SocketAddr, keys: &Arc<KeyAccess>) -> Arc<dyn Access> {
    let open = config.master_api_key.is_none() && config.is_open(grpc);
    if open { Arc::new(OpenAccess) } else { Arc::<KeyAccess>::clone(keys) }
}

/// Which services may connect over gRPC: those with a key of their owner, and
/// guests.
fn service_access(
    config: &Config,
    grpc: SocketAddr,
    keys: &Arc<KeyAccess>,
) -> portolan::Result<Arc<dyn Access>> {
    let nobody = config.grpc_tokens.is_empty() && config.master_api_key.is_none();
    let guests = match nobody && config.is_open(grpc) {
        true => Guests::Anyone,
        false => Guests::Tokens(config.grpc_tokens.clone()),
    };
    let owner = Owner::parse("reverse")?;
    Ok(Arc::new(GuestAccess::new(Arc::clone(keys), &guests, owner)))
}

/// The routes, and the handle that says when the gateway stops serving.
pub(crate) async fn router(parts: Parts) -> (Router, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    // The empty name stands for the server as a whole.
    reporter.set_service_status("", ServingStatus::Serving).await;
    let Parts { registry, switchboard, reception, dispatch, secret } = parts;
    let reverse = ReverseService::new(&switchboard, reception, Arc::clone(&dispatch));
    let mut routes = Routes::new(health).add_service(registry).add_service(reverse);
    if let Some(secret) = secret {
        routes = routes.add_service(Forwarded::service(switchboard, secret));
    }
    let door = FrontDoor::new(dispatch);
    (routes.into_axum_router().fallback_service(door), reporter)
}

/// Tells everybody who watches that the gateway is going.
pub(crate) async fn drain(reporter: &HealthReporter) {
    reporter.set_service_status("", ServingStatus::NotServing).await;
}
