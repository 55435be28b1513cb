//! From a service, a path and JSON to an answer: picks an instance and calls it
//! by the registered IDL.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::future::Cache;
use portolan::call::{Call, CallError, CallErrorKind, Caller, Headers, Peer};
use portolan::thrift::ThriftCaller;
use portolan::thrift::idl::{self, Descriptor, Function};
use portolan::thrift::json::{self, Answer, Json, Style, ValueError};
use portolan::{
    Client, Error, ErrorKind, Instance, Query, Revision, ServiceName, ServiceRecord, ServiceView,
    Transport,
};
use serde_json::Value;
use tokio::time::timeout;

/// Calls services of a registry. Follows every service it was asked for, until
/// nobody has asked for ten minutes.
pub(crate) struct Dispatcher {
    client: Client,
    caller: ThriftCaller,
    services: Cache<ServiceName, Arc<Followed>>,
    unknown: Cache<ServiceName, ()>,
    idls: idl::Cache,
}

/// A service that is called.
struct Followed {
    view: ServiceView,
    /// What its declaration meant when it was last called.
    interface: ArcSwapOption<(Revision, Arc<Interface>)>,
}

/// What a declaration means for calls.
#[derive(Debug)]
struct Interface {
    idl: Arc<Descriptor>,
    service: String,
    routes: HashMap<String, String>,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Dispatched {
    /// A declared exception: its name, and its fields as JSON.
    Exception(String, Vec<u8>),
    /// The JSON of a result.
    Json(Vec<u8>),
    /// A bare string, as the original gateway answers it.
    Text(Vec<u8>),
}

/// A call as it came in.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) service: &'a ServiceName,
    pub(crate) path: &'a str,
    /// `None` is an empty body.
    pub(crate) argument: Option<Json<'a>>,
    /// Those that travel with it.
    pub(crate) headers: Headers,
    /// How long the caller says it waits.
    pub(crate) wait: Option<Duration>,
    pub(crate) style: Style,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum DispatchError {
    /// The JSON does not fit the method.
    Argument(ValueError),
    /// The instance could not be called, or answered with an error.
    Call(CallError),
    /// The method needs an argument.
    EmptyBody,
    /// The declaration has no IDL that can be used.
    Interface(String),
    /// Nobody to call.
    NoInstance,
    /// The registry cannot tell.
    Registry(Error),
    /// No such service, or no such method.
    Unknown,
}

/// The time a call has, like the original's caller but with a bound people wait for.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(600);
/// How long the first caller of a service waits for the registry.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(5);
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(crate) fn new(client: Client, caller: ThriftCaller, idls: idl::Cache) -> Self {
        Self {
            client,
            caller,
            services: Cache::builder().max_capacity(100_000).time_to_idle(IDLE).build(),
            unknown: Cache::builder().max_capacity(10_000).time_to_live(UNKNOWN_FOR).build(),
            idls,
        }
    }

    /// Calls the method behind a path of a service.
    pub(crate) async fn call(&self, request: Request<'_>) -> Result<Dispatched, DispatchError> {
        let service = request.service;
        let followed = self.followed(service).await?;
        let view = &followed.view;
        let record = view.current().service.clone().ok_or(DispatchError::Unknown)?;
        let interface = followed.interface(&record, &self.idls)?;
        let function = interface.function(request.path).ok_or(DispatchError::Unknown)?;
        let argument = match request.argument {
            Some(argument) => argument,
            None if function.takes_nothing() => Json::Value(&Value::Null),
            None => return Err(DispatchError::EmptyBody),
        };
        let payload = json::write_arguments(&interface.idl, function, argument)
            .map_err(DispatchError::Argument)?;
        let mut call = Call::new(service.clone(), &function.name, payload.into())
            .with_timeout(request.wait.unwrap_or_else(|| timeout_of(&record, &function.name)))
            .with_oneway(function.oneway);
        call.headers = request.headers;
        let instance = pick(view).ok_or(DispatchError::NoInstance)?;
        let peer = Peer::of(&instance, service, |a| a.transport() == Transport::Thrift);
        let peer = peer.ok_or(DispatchError::NoInstance)?;
        let reply = self.caller.call(peer, call).await.map_err(DispatchError::Call)?;
        match function.oneway {
            true => Ok(Dispatched::Json(b"null".to_vec())),
            false => interface.read(function, &reply.payload, request.style),
        }
    }

    /// The service, followed. Many callers of a new one wait for one read; what
    /// does not exist is not asked for again within a second.
    async fn followed(&self, service: &ServiceName) -> Result<Arc<Followed>, DispatchError> {
        if let Some(followed) = self.services.get(service).await {
            return Ok(followed);
        }
        if self.unknown.contains_key(service) {
            return Err(DispatchError::Unknown);
        }
        let open = async {
            self.client.registry().resolve(&Query::service(service.clone())).await?;
            let view = self.client.follow(service);
            match timeout(FOLLOWED_WITHIN, view.ready()).await {
                Ok(()) => Ok(Arc::new(Followed { view, interface: ArcSwapOption::empty() })),
                Err(_) => Err(Error::new(
                    ErrorKind::Unavailable,
                    "the registry did not tell about the service in time",
                )),
            }
        };
        match self.services.try_get_with_by_ref(service, open).await {
            Ok(followed) => Ok(followed),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.unknown.insert(service.clone(), ()).await;
                Err(DispatchError::Unknown)
            }
            Err(error) => {
                let copy = Error::new(error.kind(), error.to_string());
                Err(DispatchError::Registry(copy))
            }
        }
    }

    /// Returns once what is picked from shows this revision of the service, so
    /// that who just joined is called by the next call; at most a second.
    pub(crate) async fn caught_up(&self, service: &ServiceName, revision: Revision) {
        if let Some(followed) = self.services.get(service).await {
            let shown = followed.view.reached(|followed| followed.revision >= Some(revision));
            let _ = timeout(Duration::from_secs(1), shown).await;
        }
    }

    /// Forgets that these services did not exist.
    pub(crate) async fn declared(&self, services: impl IntoIterator<Item = &ServiceName>) {
        for service in services {
            self.unknown.invalidate(service).await;
        }
    }
}

impl Followed {
    /// The declaration as a call needs it, worked out once per revision.
    fn interface(
        &self,
        record: &ServiceRecord,
        idls: &idl::Cache,
    ) -> Result<Arc<Interface>, DispatchError> {
        let known = self.interface.load();
        if let Some(known) = known.as_ref().filter(|known| known.0 == record.revision) {
            return Ok(Arc::clone(&known.1));
        }
        let interface = Interface::new(record, idls).map_err(DispatchError::Interface)?;
        let interface = Arc::new(interface);
        self.interface.store(Some(Arc::new((record.revision, Arc::clone(&interface)))));
        Ok(interface)
    }
}

impl Interface {
    fn new(record: &ServiceRecord, idls: &idl::Cache) -> Result<Self, String> {
        let idl = idls.get(&record.spec.idl, &record.spec.idl_includes);
        let idl = idl.map_err(|error| error.to_string())?;
        let service = record.spec.name.to_string();
        let routes = record.spec.routes.iter();
        Ok(Self {
            idl,
            service,
            routes: routes.map(|route| (route.path.clone(), route.method.clone())).collect(),
        })
    }

    /// The function behind a path; where no routes are declared, the names of
    /// the functions are their paths.
    fn function(&self, path: &str) -> Option<&Arc<Function>> {
        let method = match self.routes.is_empty() {
            true => path,
            false => self.routes.get(path)?,
        };
        self.idl.service(&self.service)?.function(method)
    }

    fn read(
        &self,
        function: &Function,
        result: &[u8],
        style: Style,
    ) -> Result<Dispatched, DispatchError> {
        let mut out = Vec::new();
        match json::read_result(&self.idl, function, result, style, &mut out) {
            Ok(Answer::Exception(name)) => Ok(Dispatched::Exception(name, out)),
            Ok(Answer::Result) if function.returns_string() => Ok(Dispatched::Text(out)),
            Ok(Answer::Result) => Ok(Dispatched::Json(out)),
            Err(error) => {
                let reason = format!("the answer does not fit the IDL: {error}");
                Err(DispatchError::Call(CallError::new(CallErrorKind::Framework, reason)))
            }
        }
    }
}

/// Four times the 95th percentile that is declared for the method, at least a
/// second; else the time everybody has.
fn timeout_of(record: &ServiceRecord, method: &str) -> Duration {
    let declared = record.spec.endpoints.iter().find(|endpoint| endpoint.name == method);
    match declared.and_then(|endpoint| endpoint.sla) {
        Some(sla) => (sla.p95 * 4).clamp(Duration::from_secs(1), CALL_TIMEOUT),
        None => CALL_TIMEOUT,
    }
}

/// A declared exception as JSON; a name of an IDL needs no escapes.
pub(crate) fn thrown(name: &str, value: &[u8]) -> Vec<u8> {
    let front = format!("{{\"exception\":\"{name}\",\"value\":");
    [front.as_bytes(), value, b"}"].concat()
}

/// A picked instance. A copy: the snapshot it was picked from is not to be held
/// while somebody works.
fn pick(view: &ServiceView) -> Option<Instance> {
    view.pick().map(|picked| (*picked).clone())
}

impl Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("client", &self.client).finish_non_exhaustive()
    }
}
