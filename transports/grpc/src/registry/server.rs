//! The serving side: questions of the protocol, put to the desk.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use registry_api as api;
use registry_api::access::{Asker, Desk};
use registry_api::{Owner, WatchFrom};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

use super::model::{self, Form, all_from_wire, all_to_wire, needed};
use super::watching::Watching;
use super::who::Who;
use super::{MAX_ANSWER, MAX_QUESTION, MAX_UNPROVEN};
use crate::status::of_registry;
use crate::v1;
use crate::v1::registry_server::{Registry, RegistryServer};

type Answer<T> = Result<Response<T>, Status>;

/// Serves registries over gRPC. A service like any other of `tonic`.
#[derive(Clone)]
pub struct RegistryService {
    face: Face,
    known: RegistryServer<Face>,
    unknown: RegistryServer<Face>,
}

#[derive(Clone, Debug)]
pub(super) struct Face {
    desk: Arc<Desk>,
}

/// How long a watch may be open before it says what it is about.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

impl RegistryService {
    /// Answers for whoever the desk lets.
    pub fn new(desk: Arc<Desk>) -> Self {
        let face = Face { desk };
        let server = |limit| {
            RegistryServer::new(face.clone())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(MAX_ANSWER)
        };
        let (known, unknown) = (server(MAX_QUESTION), server(MAX_UNPROVEN));
        Self { known, unknown, face }
    }
}

impl NamedService for RegistryService {
    const NAME: &'static str = <RegistryServer<Face> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for RegistryService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Who is not known gets no room for large questions: the head says who it is
    /// before the body is read.
    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let mut service = self.clone();
        Box::pin(async move {
            let who = match Who::read(request.headers()) {
                Ok(who) => who,
                Err(error) => return Ok(of_registry(&error).into_http()),
            };
            let known = match service.face.asker(&who) {
                Ok(asker) => asker.may_read().await.is_ok(),
                Err(_) => false,
            };
            request.extensions_mut().insert(who);
            match known {
                true => service.known.call(request).await,
                false => service.unknown.call(request).await,
            }
        })
    }
}

impl Face {
    pub(super) fn asker(&self, who: &Who) -> api::Result<Asker<'_>> {
        self.desk.asker(&who.namespace, who.credential.clone())
    }

    fn asking<T>(&self, request: Request<T>) -> Result<(Asker<'_>, T), Status> {
        let who = request.extensions().get::<Who>().cloned().unwrap_or_default();
        let asker = self.asker(&who).map_err(|error| of_registry(&error))?;
        Ok((asker, request.into_inner()))
    }
}

fn answer<T>(outcome: api::Result<T>) -> Answer<T> {
    outcome.map(Response::new).map_err(|error| of_registry(&error))
}

#[tonic::async_trait]
impl Registry for Face {
    async fn info(&self, request: Request<v1::InfoRequest>) -> Answer<v1::InfoResponse> {
        let (asker, _) = self.asking(request)?;
        answer(asker.info().await.map(model::info_to_wire))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Answer<v1::RegisterResponse> {
        let (asker, wire) = self.asking(request)?;
        answer(
            async {
                let records = asker.register(Form::from_wire(wire)?).await?;
                Ok(v1::RegisterResponse { records: all_to_wire(&records) })
            }
            .await,
        )
    }

    async fn deregister(
        &self,
        request: Request<v1::DeregisterRequest>,
    ) -> Answer<v1::DeregisterResponse> {
        let (asker, wire) = self.asking(request)?;
        answer(
            async {
                let services: Vec<_> = all_from_wire(wire.services)?;
                asker.deregister(&Owner::parse(&wire.owner)?, &services).await?;
                Ok(v1::DeregisterResponse {})
            }
            .await,
        )
    }

    async fn connect(&self, request: Request<v1::ConnectRequest>) -> Answer<v1::ConnectResponse> {
        let (asker, wire) = self.asking(request)?;
        answer(
            async {
                let entries = wire.instances.into_iter().map(Form::from_wire).collect();
                Ok(v1::ConnectResponse { answers: all_to_wire(&asker.connect(entries).await?) })
            }
            .await,
        )
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Answer<v1::HeartbeatResponse> {
        let (asker, wire) = self.asking(request)?;
        answer(
            async {
                let beats: Vec<api::Beat> = all_from_wire(wire.beats)?;
                let outcomes = asker.heartbeat(&beats).await?;
                let outcomes = outcomes.into_iter().map(model::outcome::number).collect();
                Ok(v1::HeartbeatResponse { outcomes })
            }
            .await,
        )
    }

    async fn disconnect(
        &self,
        request: Request<v1::DisconnectRequest>,
    ) -> Answer<v1::DisconnectResponse> {
        let (asker, wire) = self.asking(request)?;
        answer(
            async {
                let instances: Vec<api::InstanceRef> = all_from_wire(wire.instances)?;
                asker.disconnect(&instances).await?;
                Ok(v1::DisconnectResponse {})
            }
            .await,
        )
    }

    async fn resolve(&self, request: Request<v1::ResolveRequest>) -> Answer<v1::View> {
        let (asker, wire) = self.asking(request)?;
        answer(async { Ok(asker.resolve(&Form::from_wire(wire)?).await?.to_wire()) }.await)
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchItem, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Answer<Self::WatchStream> {
        let who = request.extensions().get::<Who>().cloned().unwrap_or_default();
        let (asker, mut said) = self.asking(request)?;
        let first = timeout(FIRST_WITHIN, said.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("nothing was asked"))??;
        let wire = first.ok_or_else(|| Status::invalid_argument("nothing was asked"))?;
        let window = i64::from(wire.window);
        let stream = async {
            let from = match wire.after {
                Some(revision) => WatchFrom::Revision(Form::from_wire(revision)?),
                None => WatchFrom::Now,
            };
            asker.watch(&needed("scope", wire.scope)?, from).await
        };
        let stream = stream.await.map_err(|error| of_registry(&error))?;
        let watching = Watching::new(self.clone(), who, stream, said, window);
        let items = stream::unfold(Some(watching), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Some(Ok(item)) => Some((Ok(item.to_wire()), Some(watching))),
                Some(Err(error)) => Some((Err(of_registry(&error)), None)),
                None => None,
            }
        });
        Ok(Response::new(Box::pin(items)))
    }
}

impl Debug for RegistryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryService").field("desk", &self.face.desk).finish_non_exhaustive()
    }
}
