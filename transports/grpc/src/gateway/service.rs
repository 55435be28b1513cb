//! `registry.RegistryService`: a service like any other of `tonic`, over frames
//! of our own.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, header};
use prost::Message;
use registry_api::access::Credential;
use registry_api::{Address, InstanceId, InstanceSpec, LeaseTerms, Offer, Result};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::stream::Stream;
use super::{Board, Reception, Switchboard, service_names};
use crate::frames::{Frame, Frames, framed};
use crate::incoming::Dispatch;
use crate::reverse::outbox::OutboxBody;
use crate::reverse::wire::connection_message::MessageType;
use crate::reverse::wire::{
    ConnectionMessage, ConnectionRegister, RegisterRequest, RegisterResponse,
};
use crate::reverse::{ESTABLISH, OURS, REGISTER};
use crate::status::of_registry;

/// Answers services that connect. A service of `tonic`.
#[derive(Clone)]
pub struct ReverseService(Arc<Door>);

/// What every stream needs besides the switchboard.
pub(super) struct Door {
    pub(super) board: Arc<Board>,
    pub(super) reception: Arc<dyn Reception>,
    pub(super) dispatch: Arc<dyn Dispatch>,
}

type Answer = http::Response<Body>;

/// The largest message of somebody who has not shown a key yet.
const MAX_UNPROVEN: usize = 64 * 1024;
/// How long the first message may take.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// A service that can be dialled is gone when it has not said so for so long.
const REGISTERED_FOR: Duration = Duration::from_secs(120);
/// The most services of one connection.
const MAX_SERVICES: usize = 32;

impl ReverseService {
    /// Lets services connect to this switchboard. `reception` decides who may, and
    /// `dispatch` finds whom they ask for.
    pub fn new(
        switchboard: &Switchboard,
        reception: Arc<dyn Reception>,
        dispatch: Arc<dyn Dispatch>,
    ) -> Self {
        Self(Arc::new(Door { board: Arc::clone(&switchboard.0), reception, dispatch }))
    }
}

impl NamedService for ReverseService {
    const NAME: &'static str = "registry.RegistryService";
}

impl Service<http::Request<Body>> for ReverseService {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let door = Arc::clone(&self.0);
        Box::pin(async move {
            let answer = match request.uri().path() {
                ESTABLISH => establish(door, request).await,
                REGISTER => register(&door, request).await,
                _ => Err(Status::unimplemented("RegistryService has no such method")),
            };
            Ok(answer.unwrap_or_else(|status| status.into_http()))
        })
    }
}

/// Opens a stream: its first message says who it is.
async fn establish(
    door: Arc<Door>,
    request: http::Request<Body>,
) -> std::result::Result<Answer, Status> {
    let ours = request.headers().contains_key(OURS);
    let mut frames = Frames::new(request.into_body(), MAX_UNPROVEN);
    let not_register = || Status::invalid_argument("First message must be a connection register");
    let first = match timeout(FIRST_WITHIN, frames.next()).await {
        Ok(Ok(Frame::Message(first))) => {
            ConnectionMessage::decode(first).map_err(|_| not_register())?
        }
        Ok(Ok(Frame::End(_))) => return Err(Status::aborted("Connection stream closed")),
        Ok(Ok(Frame::TooLarge(_))) => {
            return Err(Status::resource_exhausted("the first message has more than 64 KiB"));
        }
        Ok(Err(status)) => return Err(status),
        Err(_) => return Err(Status::deadline_exceeded("no first message in 10 s")),
    };
    let Some(MessageType::Register(register)) = first.message_type else {
        return Err(not_register());
    };
    if *door.board.draining.borrow() {
        return Err(Status::unavailable("the gateway is going; try another one"));
    }
    let (stream, outbox) = Stream::open(door, register, frames, ours).await?;
    let body = OutboxBody::answer(outbox, stream.start());
    let mut answer = http::Response::new(Body::new(body));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(OURS, HeaderValue::from_static("1"));
    Ok(answer)
}

/// The refusal of a service, in the original's words where it has some.
pub(super) fn refusal(error: &registry_api::Error) -> Status {
    match error.kind() {
        registry_api::ErrorKind::Unauthenticated => Status::unauthenticated("Invalid token"),
        _ => of_registry(error),
    }
}

/// The instance that a connection is.
pub(super) fn instance(
    board: &Board,
    serial: u64,
    register: &ConnectionRegister,
    id: &str,
) -> Result<InstanceSpec> {
    let address = board.address(serial)?;
    let services = checked(&register.services)?;
    let offers = services.into_iter().map(|service| Offer::new(service, address.clone()));
    Ok(InstanceSpec::new(InstanceId::parse(id)?, offers))
}

fn checked(services: &[String]) -> Result<Vec<registry_api::ServiceName>> {
    match services.len() {
        0..=MAX_SERVICES => service_names(services),
        _ => Err(registry_api::Error::invalid("services", "must be 32 at most")),
    }
}

/// The unary half: a service that can be dialled.
async fn register(
    door: &Door,
    request: http::Request<Body>,
) -> std::result::Result<Answer, Status> {
    let mut frames = Frames::new(request.into_body(), MAX_UNPROVEN);
    let first = timeout(FIRST_WITHIN, frames.next()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no message in 10 s"))??;
    let Frame::Message(first) = first else {
        return Err(Status::invalid_argument("one message of at most 64 KiB is due"));
    };
    let told = RegisterRequest::decode(first);
    let told = told.map_err(|_| Status::invalid_argument("the message is no RegisterRequest"))?;
    let credential = Credential::key(told.api_key.as_str());
    let message = match dialled(&told) {
        Ok(instance) => {
            let registered = door.reception.register(&credential, instance).await;
            registered.map_err(|error| refusal(&error))?;
            "Registered; say it again at least every 60 s".to_owned()
        }
        // Clients in the field give a name where the address is due, and go on to
        // connect in reverse: they are told, and not refused.
        Err(error) => {
            let known = door.reception.may_stay(&credential, &[]).await;
            known.map_err(|error| refusal(&error))?;
            format!("not registered, since it cannot be dialled: {error}")
        }
    };
    let answer = RegisterResponse { success: true, message };
    let body = framed(&answer.encode_to_vec());
    let outbox = http_body_util::Full::new(body);
    let trailers = async { Some(Ok(crate::reverse::outbox::trailers(&Status::ok("")))) };
    let body = http_body_util::BodyExt::with_trailers(outbox, trailers);
    let mut answer = http::Response::new(Body::new(body));
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(header::CONTENT_TYPE, grpc);
    Ok(answer)
}

/// The instance behind an address that can be dialled.
fn dialled(told: &RegisterRequest) -> Result<InstanceSpec> {
    let scheme = [("http://", "grpc"), ("https://", "grpcs")];
    let found = scheme.into_iter().find_map(|(theirs, ours)| {
        Some(format!("{ours}://{}", told.address.strip_prefix(theirs)?.trim_end_matches('/')))
    });
    let rule = "must read http://host:port";
    let address = found.ok_or_else(|| registry_api::Error::invalid("address", rule))?;
    let address = Address::parse(&address)?;
    let services = checked(&told.services)?;
    let offers = services.into_iter().map(|service| Offer::new(service, address.clone()));
    let terms = LeaseTerms::new(REGISTERED_FOR, REGISTERED_FOR)?;
    Ok(InstanceSpec::new(InstanceId::parse(address.as_str())?, offers).with_terms(terms))
}

impl Debug for ReverseService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseService")
            .field("gateway", &self.0.board.gateway)
            .finish_non_exhaustive()
    }
}
