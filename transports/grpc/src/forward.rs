//! Calls from one gateway to another, which holds the connection they are for:
//! `proto/portolan/v1/forward.proto`. One hop, never more.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use registry_api::access::Credential;
use registry_api::call::{Call, CallError, CallErrorKind, Headers, Reply};
use registry_api::{ErrorKind, ServiceName};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::caller::Elsewhere;
use crate::channel::{Security, channel};
use crate::gateway::Switchboard;
use crate::registry::{Who, bearer};
use crate::reverse::MAX_MESSAGE;
use crate::v1;
use crate::v1::call_response::Outcome;
use crate::v1::forward_client::ForwardClient;
use crate::v1::forward_server::{Forward, ForwardServer};
use crate::{status, timeout as time};

/// What gateways of one cluster show each other.
#[derive(Clone)]
pub struct ClusterSecret(Credential);

impl ClusterSecret {
    /// A secret of at least 16 characters, which no header could not hold.
    pub fn new(secret: &str) -> registry_api::Result<Self> {
        let who = Who { credential: Credential::key(secret), ..Who::default() };
        if secret.len() < 16 || who.write().is_err() {
            let rule = "must have at least 16 characters, and none that is a control character";
            return Err(registry_api::Error::invalid("cluster-secret", rule));
        }
        Ok(Self(who.credential))
    }

    /// In the same time wherever they differ.
    fn is(&self, other: &Credential) -> bool {
        let (ours, theirs) = (self.0.expose().as_bytes(), other.expose().as_bytes());
        ours.ct_eq(theirs).into()
    }
}

/// The serving side: `portolan.v1.Forward`.
#[derive(Debug)]
pub struct Forwarded {
    switchboard: Switchboard,
    secret: ClusterSecret,
}

impl Forwarded {
    /// A service of `tonic` that calls over the connections of this gateway, for
    /// whoever knows the secret.
    pub fn service(switchboard: Switchboard, secret: ClusterSecret) -> ForwardServer<impl Forward> {
        ForwardServer::new(Self { switchboard, secret })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl Forward for Forwarded {
    async fn call(
        &self,
        request: Request<v1::CallRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        let (metadata, _, told) = request.into_parts();
        let headers = metadata.into_headers();
        if !self.secret.is(&bearer(&headers)) {
            return Err(Status::unauthenticated("the secret of the cluster is another"));
        }
        let service = ServiceName::parse(&told.service);
        let service = service.map_err(|error| status::of_registry(&error))?;
        let mut call = Call::new(service, told.method, told.payload).with_oneway(told.oneway);
        call.headers = told.headers.into_iter().collect();
        let left = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
        call.timeout = left.and_then(time::read).map(time::bounded);
        let outcome =
            match self.switchboard.call(&told.connection, call).await.and_then(Reply::whole) {
                Ok(reply) => Outcome::Reply(v1::Reply {
                    headers: to_map(reply.headers),
                    payload: reply.payload,
                }),
                Err(error) => Outcome::Failure(failure(&error)),
            };
        Ok(Response::new(v1::CallResponse { outcome: Some(outcome) }))
    }
}

fn to_map(headers: Headers) -> BTreeMap<String, String> {
    headers.into_iter().collect()
}

fn failure(error: &CallError) -> v1::Failure {
    v1::Failure {
        kind: error.kind().name().to_owned(),
        message: error.message().to_owned(),
        code: error.code().to_owned(),
        body: error.body().clone(),
        not_run: !error.may_have_run(),
    }
}

fn failed(failure: v1::Failure) -> CallError {
    let error = match CallErrorKind::named(&failure.kind) {
        Some(CallErrorKind::Application) => CallError::application(failure.code, failure.body),
        Some(kind) => CallError::new(kind, failure.message),
        None => CallError::new(CallErrorKind::Framework, failure.message),
    };
    if failure.not_run { error.not_run() } else { error }
}

/// Where a gateway of an id can be reached, as `host:port`; `None` if nobody
/// knows.
pub type FindGateway = dyn Fn(&str) -> Option<(String, Security)> + Send + Sync;

/// The calling side.
pub struct Forwarder {
    secret: ClusterSecret,
    find: Box<FindGateway>,
    known: Mutex<HashMap<String, Channel>>,
}

/// The most gateways that are remembered; all are forgotten beyond it.
const MAX_KNOWN: usize = 1_000;

impl Forwarder {
    /// Calls through the gateways that `find` finds.
    pub fn new(secret: ClusterSecret, find: Box<FindGateway>) -> Self {
        Self { secret, find, known: Mutex::default() }
    }

    fn channel(&self, gateway: &str) -> Result<Channel, CallError> {
        let unreachable =
            |reason: String| CallError::new(ErrorKind::Unavailable.into(), reason).not_run();
        let found = (self.find)(gateway);
        let (host, security) = found.ok_or_else(|| {
            unreachable("the gateway that holds the connection is not there any more".to_owned())
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.get(&host) {
            return Ok(channel.clone());
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let channel = channel(&host, &security);
        let channel = channel.map_err(|error| unreachable(error.to_string()))?;
        known.insert(host, channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl Elsewhere for Forwarder {
    async fn call(&self, gateway: &str, connection: &str, call: Call) -> Result<Reply, CallError> {
        let mut client = ForwardClient::new(self.channel(gateway)?)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let left = call.time_left();
        let who = Who { credential: self.secret.0.clone(), ..Who::default() };
        let metadata = MetadataMap::from_headers(who.write().unwrap_or_default());
        let question = v1::CallRequest {
            connection: connection.to_owned(),
            service: call.service.to_string(),
            method: call.method,
            headers: to_map(call.headers),
            payload: call.payload,
            oneway: call.oneway,
        };
        let mut request = Request::from_parts(metadata, http::Extensions::default(), question);
        request.set_timeout(left);
        let answer = match timeout(left, client.call(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(told)) => return Err(between(&told)),
            Err(_) => {
                let reason = "no answer before the deadline";
                return Err(CallError::new(ErrorKind::Timeout.into(), reason));
            }
        };
        match answer.outcome {
            Some(Outcome::Reply(reply)) => {
                let mut read = Reply::new(reply.payload);
                read.headers = reply.headers.into_iter().collect();
                Ok(read)
            }
            Some(Outcome::Failure(failure)) => Err(failed(failure)),
            None => Err(CallError::new(CallErrorKind::Framework, "the other gateway said nothing")),
        }
    }
}

/// A failure between the gateways: the service said nothing.
fn between(told: &Status) -> CallError {
    let reason = format!("the gateway that holds the connection: {}", told.message());
    let kind = match told.code() {
        Code::DeadlineExceeded => ErrorKind::Timeout,
        // Its operator has to see to it; the call was not run.
        Code::Unauthenticated => {
            return CallError::new(ErrorKind::Unavailable.into(), reason).not_run();
        }
        _ => ErrorKind::Unavailable,
    };
    CallError::new(kind.into(), reason)
}

impl Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(…)")
    }
}

impl Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_opens() {
        let secret = ClusterSecret::new("0123456789abcdef").unwrap();
        assert!(secret.is(&Credential::key("0123456789abcdef")));
        for wrong in ["", "0123456789abcde", "0123456789abcdefg", "0123456789abcdeF"] {
            assert!(!secret.is(&Credential::key(wrong)), "{wrong}");
        }
        assert!(ClusterSecret::new("short").is_err());
        assert_eq!(format!("{secret:?}"), "ClusterSecret(…)");
    }

    #[test]
    fn failures_arrive_as_they_were() {
        let lost = CallError::new(ErrorKind::Unavailable.into(), "x").not_run();
        let seen = failed(failure(&lost));
        assert!(!seen.may_have_run() && seen.kind() == lost.kind());
        let seen = failed(failure(&CallError::application("Sad", "b".into())));
        assert_eq!((seen.code(), &**seen.body()), ("Sad", &b"b"[..]));
    }
}
