//! From a service, a path and JSON to an answer: picks an instance and calls it
//! by the registered IDL.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::future::Cache;
use portolan::call::{Call, CallError, CallErrorKind, Caller, Headers};
use portolan::thrift::idl::{self, Descriptor, Function};
use portolan::thrift::json::{self, Answer, Json, Style, ValueError};
use portolan::{
    Channel, ChannelOptions, Client, Error, ErrorKind, Explanation, Revision, ServiceName,
    ServiceRecord,
};
use serde_json::Value;
use tokio::time::timeout;

/// Calls services of a registry. Follows every service it was asked for, until
/// nobody has asked for ten minutes.
pub(crate) struct Dispatcher {
    client: Client,
    caller: Arc<dyn Caller>,
    options: ChannelOptions,
    services: Cache<ServiceName, Arc<Followed>>,
    unknown: Cache<ServiceName, ()>,
    idls: idl::Cache,
}

/// A service that is called.
struct Followed {
    channel: Channel,
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
    /// Whether the caller says that it may be run twice.
    pub(crate) idempotent: bool,
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
    /// The registry cannot tell.
    Registry(Error),
    /// No such service, or no such method.
    Unknown,
}

const IDLE: Duration = Duration::from_secs(600);
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(crate) fn new(
        client: Client,
        caller: Arc<dyn Caller>,
        options: ChannelOptions,
        idls: idl::Cache,
    ) -> Self {
        Self {
            client,
            caller,
            options,
            services: Cache::builder().max_capacity(100_000).time_to_idle(IDLE).build(),
            unknown: Cache::builder().max_capacity(10_000).time_to_live(UNKNOWN_FOR).build(),
            idls,
        }
    }

    /// Calls the method behind a path of a service.
    pub(crate) async fn call(&self, request: Request<'_>) -> Result<Dispatched, DispatchError> {
        let service = request.service;
        let followed = self.followed(service).await?;
        let known = followed.channel.view().current();
        let record = known.service.as_ref().ok_or(DispatchError::Unknown)?;
        let interface = followed.interface(record, &self.idls)?;
        let function = interface.function(request.path).ok_or(DispatchError::Unknown)?;
        let argument = match request.argument {
            Some(argument) => argument,
            None if function.takes_nothing() => Json::Value(&Value::Null),
            None => return Err(DispatchError::EmptyBody),
        };
        let payload = json::write_arguments(&interface.idl, function, argument)
            .map_err(DispatchError::Argument)?;
        let mut call = Call::new(service.clone(), &function.name, payload.into())
            .with_idempotent(request.idempotent)
            .with_oneway(function.oneway);
        call.headers = request.headers;
        call.timeout = request.wait;
        let reply = followed.channel.call(call).await.map_err(DispatchError::Call)?;
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
            let (caller, options) = (Arc::clone(&self.caller), self.options.clone());
            let channel = self.client.channel(service, caller, options);
            channel.view().ready().await?;
            match channel.view().current().is_unknown() {
                true => Err(Error::new(ErrorKind::NotFound, "there is no such service")),
                false => Ok(Arc::new(Followed { channel, interface: ArcSwapOption::empty() })),
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
            let shown =
                followed.channel.view().reached(|followed| followed.revision >= Some(revision));
            let _ = timeout(Duration::from_secs(1), shown).await;
        }
    }

    /// Why instances of a service are picked or not, where it is called.
    pub(crate) async fn explain(&self, service: &ServiceName) -> Vec<Explanation> {
        let followed = self.services.get(service).await;
        followed.map_or_else(Vec::new, |followed| followed.channel.explain())
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

/// A declared exception as JSON; a name of an IDL needs no escapes.
pub(crate) fn thrown(name: &str, value: &[u8]) -> Vec<u8> {
    let front = format!("{{\"exception\":\"{name}\",\"value\":");
    [front.as_bytes(), value, b"}"].concat()
}

impl Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("client", &self.client).finish_non_exhaustive()
    }
}
