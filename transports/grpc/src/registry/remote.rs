//! The calling side: a registry that is elsewhere.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use http::HeaderMap;
use registry_api as api;
use registry_api::access::Credential;
use registry_api::{
    Beat, BeatOutcome, Clock, Error, ErrorKind, Info, InstanceRef, InstanceSpec, Lease, Namespace,
    Opens, Owner, Query, Registration, Registry, Result, Scope, ServiceName, ServiceRecord, View,
    WatchFrom, WatchItem, WatchStream,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::model::{self, Form, all_from_wire, all_to_wire};
use super::watching::cost;
use super::who::Who;
use super::{MAX_ANSWER, MAX_QUESTION};
use crate::status::to_registry;
use crate::v1;
use crate::v1::registry_client::RegistryClient;

/// As whom a registry is asked.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RemoteOptions {
    /// The namespace of the handle.
    pub namespace: Namespace,
    /// What is shown with every question.
    pub credential: Credential,
}

impl RemoteOptions {
    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the credential.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }
}

/// A handle on a registry that a [`RegistryService`](super::RegistryService)
/// serves elsewhere.
#[derive(Debug)]
pub struct GrpcRegistry {
    remote: Remote,
    info: Info,
    clock: Arc<dyn Clock>,
}

/// How to ask.
#[derive(Clone)]
struct Remote {
    client: RegistryClient<Channel>,
    metadata: HeaderMap,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl GrpcRegistry {
    /// Asks a registry what it is and returns a handle on it. `clock` times
    /// retries of watches.
    ///
    /// Errors: `Unavailable`, `Unauthenticated`, `PermissionDenied`.
    pub async fn open(
        channel: Channel,
        options: RemoteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>> {
        let client = RegistryClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER)
            .max_encoding_message_size(MAX_QUESTION);
        let RemoteOptions { namespace, credential } = options;
        let metadata = Who { namespace, credential }.write()?;
        let remote = Remote { client, metadata };
        let told = remote.ask(v1::InfoRequest {}, async |mut c, q| c.info(q).await).await?;
        let info = model::info_from_wire(&told).map_err(corrupt)?;
        Ok(api::Guard::shared(Self { remote, info, clock }))
    }
}

impl Remote {
    fn question<T>(&self, message: T) -> Request<T> {
        let metadata = MetadataMap::from_headers(self.metadata.clone());
        Request::from_parts(metadata, http::Extensions::default(), message)
    }

    async fn ask<Q, A>(
        &self,
        question: Q,
        ask: impl AsyncFnOnce(RegistryClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A> {
        let mut request = self.question(question);
        request.set_timeout(PATIENCE);
        match timeout(PATIENCE, ask(self.client.clone(), request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(to_registry(&status)),
            Err(_) => Err(to_registry(&Status::deadline_exceeded("the registry did not answer"))),
        }
    }
}

/// An answer that does not fit the protocol.
fn corrupt(reason: impl std::fmt::Display) -> Error {
    let message = format!("the registry answered what cannot be understood: {reason}");
    Error::new(ErrorKind::Corrupt, message).applied(api::Applied::Unknown)
}

/// One answer per question, in order.
fn as_many<T>(answers: Vec<T>, asked: usize) -> Result<Vec<T>> {
    match answers.len() == asked {
        true => Ok(answers),
        false => Err(corrupt("more or fewer answers than questions")),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for GrpcRegistry {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        let question = registration.to_wire();
        let answer = self.remote.ask(question, async |mut c, q| c.register(q).await).await?;
        all_from_wire(answer.records).map_err(corrupt)
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        let (owner, services) = (owner.as_str().to_owned(), all_to_wire(services));
        let question = v1::DeregisterRequest { owner, services };
        self.remote.ask(question, async |mut c, q| c.deregister(q).await).await.map(drop)
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        let question = v1::ConnectRequest { instances: all_to_wire(instances) };
        let answer = self.remote.ask(question, async |mut c, q| c.connect(q).await).await?;
        as_many(all_from_wire(answer.answers).map_err(corrupt)?, instances.len())
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let question = v1::HeartbeatRequest { beats: all_to_wire(beats) };
        let answer = self.remote.ask(question, async |mut c, q| c.heartbeat(q).await).await?;
        let outcomes = answer.outcomes.into_iter().map(model::outcome::read);
        as_many(outcomes.collect::<Result<_>>().map_err(corrupt)?, beats.len())
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        let question = v1::DisconnectRequest { instances: all_to_wire(instances) };
        self.remote.ask(question, async |mut c, q| c.disconnect(q).await).await.map(drop)
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        let question = query.to_wire();
        let answer = self.remote.ask(question, async |mut c, q| c.resolve(q).await).await?;
        View::from_wire(answer).map_err(corrupt)
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        // Progress comes at a known rate: more silence than that is a lost connection.
        let silence = self.info.limits.progress_interval * 2 + PATIENCE;
        let watching = Watching { remote: self.remote.clone(), scope: scope.clone(), silence };
        api::mended(watching, &self.info, Arc::clone(&self.clock), from).await
    }
}

/// Opens watches of a scope at the other side.
struct Watching {
    remote: Remote,
    scope: Scope,
    silence: Duration,
}

#[async_trait]
impl Opens for Watching {
    async fn open(&self, from: WatchFrom) -> Result<WatchStream> {
        let after = match from {
            WatchFrom::Now => None,
            WatchFrom::Revision(revision) => Some(revision.to_wire()),
        };
        let first =
            v1::WatchRequest { scope: Some(self.scope.to_wire()), after, window: WINDOW, read: 0 };
        let (say, mut said) = mpsc::unbounded_channel();
        let _ = say.send(first); // The other end is on the next line.
        let said = stream::poll_fn(move |cx| said.poll_recv(cx));
        let mut client = self.remote.client.clone();
        // No timeout on the wire: that would be the stream's.
        let opened = timeout(PATIENCE, client.watch(self.remote.question(said))).await;
        let opened = opened.unwrap_or_else(|_| Err(Status::unavailable("no answer to a watch")));
        let items = opened.map_err(|status| to_registry(&status))?.into_inner();
        let reading = Reading { items, say, silence: self.silence, unsaid: 0 };
        Ok(WatchStream::new(stream::unfold(reading, |mut reading| async move {
            Some((reading.next().await?, reading))
        })))
    }
}

/// A watch at the other side, and how much of it was read.
struct Reading {
    items: Streaming<v1::WatchItem>,
    say: mpsc::UnboundedSender<v1::WatchRequest>,
    silence: Duration,
    unsaid: u32,
}

/// How much may be under way that was not read.
const WINDOW: u32 = 64;

impl Reading {
    async fn next(&mut self) -> Option<Result<WatchItem>> {
        let item = match timeout(self.silence, self.items.message()).await {
            Ok(Ok(Some(item))) => item,
            Ok(Ok(None)) => return None,
            Ok(Err(status)) => return Some(Err(to_registry(&status))),
            Err(_) => {
                return Some(Err(Error::new(ErrorKind::Unavailable, "the watch went silent")));
            }
        };
        let item = WatchItem::from_wire(item).map_err(corrupt);
        self.unsaid = self.unsaid.saturating_add(item.as_ref().map_or(1, cost));
        if self.unsaid >= WINDOW / 2 {
            let read = std::mem::take(&mut self.unsaid);
            // Where nobody listens the stream ends too.
            let _ = self.say.send(v1::WatchRequest { read, ..v1::WatchRequest::default() });
        }
        Some(item)
    }
}

impl Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}
