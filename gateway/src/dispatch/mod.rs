//! From a service, a path and JSON to an answer: picks an instance and calls it
//! by the registered IDL.

mod interface;
mod services;

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use portolan::call::{Call, CallError, Headers, Reply};
use portolan::thrift::idl;
use portolan::thrift::json::{self, Json, Style, ValueError};
use portolan::{
    Address, ChannelOptions, Client, Error, Explanation, Revision, ServiceName, Transport,
};
use serde_json::Value;

use self::interface::{Interface, Protobuf, Thrift};
use self::services::Services;
pub(crate) use self::services::{Callers, Followed};

/// Calls services of a registry.
pub(crate) struct Dispatcher {
    services: Services,
    idls: idl::Cache,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Dispatched {
    /// A declared exception: its name, and its fields as JSON.
    Exception(String, Vec<u8>),
    /// The JSON of a result.
    Json(Vec<u8>),
    /// The bytes of a result that nobody declared the meaning of.
    Opaque(Bytes),
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

impl Dispatcher {
    pub(crate) fn new(
        client: Client,
        callers: Callers,
        options: ChannelOptions,
        idls: idl::Cache,
    ) -> Self {
        Self { services: Services::new(client, callers, options), idls }
    }

    /// Calls the method behind a path of a service.
    pub(crate) async fn call(&self, request: Request<'_>) -> Result<Dispatched, DispatchError> {
        let followed = self.services.followed(request.service).await?;
        let known = followed.view().current();
        let Some(record) = known.service.as_ref() else {
            return opaque(&followed, request).await;
        };
        let interface = followed.interface(record, |record| Interface::new(record, &self.idls))?;
        match &*interface {
            Interface::Opaque => opaque(&followed, request).await,
            Interface::Protobuf(interface) => protobuf(&followed, interface, request).await,
            Interface::Thrift(interface) => thrift(&followed, interface, request).await,
        }
    }

    /// Calls with a body that is encoded already, whatever its service declares.
    pub(crate) async fn as_it_is(&self, call: Call) -> Result<Reply, DispatchError> {
        let followed = self.services.followed(&call.service).await?;
        followed.protobuf.call(call).await.and_then(Reply::whole).map_err(DispatchError::Call)
    }

    /// The service of this name.
    pub(crate) async fn find(&self, name: &ServiceName) -> Result<Arc<Followed>, DispatchError> {
        self.services.followed(name).await
    }

    /// The service of the first of these names that is known; for calls that are
    /// protobuf already.
    pub(crate) async fn first_known(
        &self,
        names: impl Iterator<Item = ServiceName> + Send,
    ) -> Result<(ServiceName, Arc<Followed>), DispatchError> {
        for name in names {
            match self.find(&name).await {
                Err(DispatchError::Unknown) => {}
                followed => return followed.map(|followed| (name, followed)),
            }
        }
        Err(DispatchError::Unknown)
    }

    /// Returns once what is picked from shows this revision of the service, so
    /// that who just joined is called by the next call; at most a second.
    pub(crate) async fn caught_up(&self, service: &ServiceName, revision: Revision) {
        self.services.caught_up(service, revision).await;
    }

    /// Why instances of a service are picked or not, where it is called.
    pub(crate) async fn explain(&self, service: &ServiceName) -> Vec<Explanation> {
        self.services.explain(service).await
    }

    /// Forgets that these services did not exist.
    pub(crate) async fn declared(&self, services: impl IntoIterator<Item = &ServiceName>) {
        self.services.declared(services).await;
    }
}

async fn thrift(
    followed: &Followed,
    interface: &Thrift,
    request: Request<'_>,
) -> Result<Dispatched, DispatchError> {
    let function = interface.function(request.path).ok_or(DispatchError::Unknown)?;
    let argument = match request.argument {
        Some(argument) => argument,
        None if function.takes_nothing() => Json::Value(&Value::Null),
        None => return Err(DispatchError::EmptyBody),
    };
    let payload = json::write_arguments(&interface.idl, function, argument)
        .map_err(DispatchError::Argument)?;
    let mut call = Call::new(request.service.clone(), &function.name, payload.into())
        .with_idempotent(request.idempotent)
        .with_oneway(function.oneway);
    call.headers = request.headers;
    call.timeout = request.wait;
    let reply = followed.thrift.call(call).await.map_err(DispatchError::Call)?;
    match function.oneway {
        true => Ok(Dispatched::Json(b"null".to_vec())),
        false => interface.read(function, &reply.payload, request.style),
    }
}

async fn protobuf(
    followed: &Followed,
    interface: &Protobuf,
    request: Request<'_>,
) -> Result<Dispatched, DispatchError> {
    let method = interface.method(request.path).ok_or(DispatchError::Unknown)?;
    let payload = method.write(&text_of(request.argument));
    let payload = payload.map_err(|reason| {
        DispatchError::Argument(ValueError { path: "body".to_owned(), reason })
    })?;
    let mut call = Call::new(request.service.clone(), method.path(), payload)
        .with_idempotent(request.idempotent);
    call.headers = request.headers;
    call.timeout = request.wait;
    let reply = followed.protobuf.call(call).await.and_then(Reply::whole);
    let reply = reply.map_err(DispatchError::Call)?;
    method.read(reply.payload).map(Dispatched::Json).map_err(|error| interface::unfit(&error))
}

const JSON: &str = "application/json";
/// How services can be reached that declare no interface.
const OPAQUE: [Transport; 4] =
    [Transport::Amqp, Transport::Grpc, Transport::Http, Transport::Reverse];

/// Of a service that has declared no interface, whoever can be reached over gRPC gets
/// the body as it is. H2's services declare none and take JSON, as those over HTTP do.
async fn opaque(followed: &Followed, request: Request<'_>) -> Result<Dispatched, DispatchError> {
    let known = followed.view().current();
    let offers = known.instances.iter().filter_map(|i| i.offer(request.service));
    let transports: Vec<_> = offers
        .flat_map(|offer| offer.addresses.iter().map(Address::transport))
        .filter(|one| OPAQUE.contains(one))
        .collect();
    if transports.is_empty() {
        return Err(DispatchError::Unknown);
    }
    let is_h2 = transports.iter().all(|transport| *transport == Transport::Amqp);
    let is_http = transports.iter().all(|transport| *transport == Transport::Http);
    let payload = match request.argument {
        None if is_h2 => Bytes::from_static(b"{}"),
        argument => Bytes::from(text_of(argument).into_owned()),
    };
    let mut call = Call::new(request.service.clone(), request.path, payload)
        .with_idempotent(request.idempotent);
    call.headers = request.headers;
    call.timeout = request.wait;
    if is_h2 || is_http {
        call.content_type = JSON.to_owned();
    }
    let reply = followed.protobuf.call(call).await.and_then(Reply::whole);
    let reply = reply.map_err(DispatchError::Call)?;
    match is_h2 || reply.content_type == JSON {
        true => Ok(Dispatched::Json(reply.payload.into())),
        false => Ok(Dispatched::Opaque(reply.payload)),
    }
}

/// An argument as the text it was, or would have been.
fn text_of(argument: Option<Json<'_>>) -> Cow<'_, [u8]> {
    match argument {
        None => Cow::Borrowed(&[]),
        Some(Json::Text(text)) => Cow::Borrowed(text),
        Some(Json::Value(value)) => Cow::Owned(value.to_string().into_bytes()),
    }
}

/// A declared exception as JSON; a name of an IDL needs no escapes.
pub(crate) fn thrown(name: &str, value: &[u8]) -> Vec<u8> {
    let front = format!("{{\"exception\":\"{name}\",\"value\":");
    [front.as_bytes(), value, b"}"].concat()
}

impl Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("client", &self.services.client).finish_non_exhaustive()
    }
}
