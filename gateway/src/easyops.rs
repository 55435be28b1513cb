//! What a gateway is to servers and clients of go-easyops: their registry and their
//! authentication service, in the clear on one port and over TLS on the next.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use portolan::access::Desk;
use portolan::grpc::{EasyopsAuth, EasyopsRegistry, Ends, FrontDoor, Here, Identity, Upstreams};
use portolan::{Error, GuestAccess, Guests, KeyAccess, Owner, Registry, Result, SystemClock};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

use crate::config::Config;
use crate::control::Plane;
use crate::listen::{Accepts, Listener, Secure, Serving};
use crate::rpc::Rpc;
use crate::secret_file;

/// The service that a gateway's calls are made as.
const SERVICE: &str = "portolan";
/// The one name that clients of go-easyops ask for.
const NAME: &str = "rfc-client";

/// The key of this cloud, from its file; made where there is none.
///
/// Servers ask for its public part once, when they start: a key that changes makes our
/// calls strangers' to all that run.
pub(crate) fn identity(file: &Path) -> Result<Arc<Identity>> {
    let unusable = |error: io::Error| {
        let rule = "the file cannot be read or made";
        Error::invalid("easyops-key", rule).with("file", file.display()).because(error)
    };
    let key = match fs::read(file) {
        Ok(key) => key,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Identity::generate()?;
            secret_file::create(file, &key).map_err(unusable)?;
            tracing::info!(file = %file.display(), "made a key for go-easyops; keep it");
            key
        }
        Err(error) => return Err(unusable(error)),
    };
    Ok(Arc::new(Identity::read(&key, SERVICE)?))
}

/// The listeners, and what looks after those that registered: it ends with this.
pub(crate) struct Easyops {
    pub(crate) serving: [Serving; 2],
    pub(crate) tasks: JoinSet<()>,
}

/// Serves both ports; the second is the next one to the first.
pub(crate) fn serve(
    config: &Config,
    plane: &Arc<Plane>,
    identity: &Arc<Identity>,
    [plain, tls]: [Listener; 2],
) -> Result<Easyops> {
    let here = Here {
        advertise: config.advertise.clone(),
        tls_port: tls.address.port(),
        policy: plane.policy.clone(),
    };
    let namespace = portolan::namespace_of(&config.backend)?;
    let access = guests(&plane.access)?;
    let desk = Desk::new(access)
        .with_namespace(namespace.clone(), Arc::<dyn Registry>::clone(&plane.registry));
    let registry = EasyopsRegistry::new(Arc::clone(&plane.registry), namespace, desk, here);
    let registry = Arc::new(match &config.easyops_upstream[..] {
        [] => registry,
        places => registry.with_upstreams(Upstreams::new(
            places,
            plane.policy.clone(),
            Arc::clone(identity),
            Arc::new(SystemClock),
        )?),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&registry).probe(config.easyops_probe));
    if let Some(directory) = &config.easyops_standalone {
        tasks.spawn(Arc::clone(&registry).read_standalone(directory.clone()));
    }
    let auth = EasyopsAuth::service(Arc::clone(identity), Arc::<KeyAccess>::clone(&plane.access));
    let routes = Routes::new(registry.service()).add_service(auth).into_axum_router();
    let routes = routes.fallback_service(FrontDoor::new(Arc::new(Rpc::of(plane))));
    let acceptor = acceptor().map_err(|error| {
        Error::new(portolan::ErrorKind::Unavailable, "TLS cannot be configured").because(error)
    })?;
    let secure = Secure { acceptor, only: true };
    let serving = [
        plain.serve_with(WithEnds::new(routes.clone())),
        tls.with_tls(Some(secure)).serve_with(WithEnds::new(routes)),
    ];
    Ok(Easyops { serving, tasks })
}

/// Nobody shows a key here, so whoever comes is a guest: it may serve what belongs to
/// nobody.
fn guests(keys: &Arc<KeyAccess>) -> Result<Arc<GuestAccess>> {
    let owner = Owner::parse("easyops")?;
    Ok(Arc::new(GuestAccess::new(Arc::clone(keys), &Guests::Anyone, owner)))
}

/// A certificate that nobody checks, another one at every start.
fn acceptor() -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into());
    let mut config = config.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Routes that are told where a connection comes from.
#[derive(Clone)]
struct WithEnds {
    routes: TowerToHyperService<Router>,
    ends: Option<Ends>,
}

impl WithEnds {
    fn new(routes: Router) -> Self {
        Self { routes: TowerToHyperService::new(routes), ends: None }
    }
}

impl Accepts for WithEnds {
    fn accepted_from(self, remote: SocketAddr, local: SocketAddr) -> Self {
        Self { ends: Some(Ends { remote, local }), ..self }
    }
}

impl Service<Request<Incoming>> for WithEnds {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(ends) = self.ends {
            request.extensions_mut().insert(ends);
        }
        self.routes.call(request)
    }
}
