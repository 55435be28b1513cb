//! The calling side: a registry that is elsewhere.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api as api;
use registry_api::access::Credential;
use registry_api::call::{Call, CallErrorKind, Caller, Peer};
use registry_api::{
    Address, Beat, BeatOutcome, Clock, Info, InstanceRef, InstanceSpec, Lease, Metadata, Namespace,
    Owner, Query, Registration, Registry, Result, Scope, ServiceName, ServiceRecord, View,
    WatchFrom, WatchStream,
};

use super::error::{corrupt, unanswered};
use super::handler::RegistryHandler;
use super::model::{self, Form, all_from_wire, all_to_wire};
use super::record as wire;
use super::record::{Outcome, Void, Wire, decode, encode};
use super::watching::Watching;
use super::{MAX_ANSWER, MAX_QUESTION, MAX_UNPROVEN};
use crate::{CallerOptions, Dial, ThriftCaller, manner};

/// Where a registry is, and as whom it is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemoteOptions {
    /// Its address, `thrift://host:port`.
    pub address: Address,
    /// The namespace of the handle.
    pub namespace: Namespace,
    /// What is shown with every question.
    pub credential: Credential,
}

impl RemoteOptions {
    /// The default namespace, without a credential.
    pub fn new(address: Address) -> Self {
        Self { address, namespace: Namespace::default(), credential: Credential::none() }
    }

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

/// A handle on a registry that [`RegistryHandler`] serves elsewhere.
#[derive(Debug)]
pub struct ThriftRegistry {
    remote: Arc<Remote>,
    info: Info,
}

/// How to ask.
pub(super) struct Remote {
    caller: Arc<dyn Caller>,
    options: RemoteOptions,
    manner: Metadata,
    service: ServiceName,
    clock: Arc<dyn Clock>,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A question this large is asked once it is known that we are known: the
/// other side takes no large ones from strangers.
const LARGE: usize = MAX_UNPROVEN - 4 * 1024;

impl ThriftRegistry {
    /// Asks a registry what it is and returns a handle on it. `clock` times
    /// retries of watches.
    ///
    /// Errors: `Unavailable`, `Unauthenticated`, `PermissionDenied`.
    pub async fn open(
        dial: Arc<dyn Dial>,
        options: RemoteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>> {
        let limits = CallerOptions::default().with_max_message(MAX_ANSWER);
        Self::open_over(Arc::new(ThriftCaller::over(dial, limits)), options, clock).await
    }

    /// [`open`](Self::open) over another wire, which carries arguments and results as
    /// they are.
    pub async fn open_over(
        caller: Arc<dyn Caller>,
        options: RemoteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Registry>> {
        let remote = Remote {
            caller,
            options,
            manner: manner::of_our_host(),
            service: RegistryHandler::service(),
            clock,
        };
        let info = model::info_from_wire(&remote.info().await?).map_err(corrupt)?;
        Ok(api::Guard::shared(Self { remote: Arc::new(remote), info }))
    }
}

impl Remote {
    pub(super) fn asker(&self) -> wire::Caller {
        wire::Caller {
            space: self.options.namespace.as_str().to_owned(),
            credential: self.options.credential.expose().to_owned(),
        }
    }

    async fn info(&self) -> Result<wire::Info> {
        self.ask("info", &wire::InfoArguments { caller: self.asker() }).await
    }

    pub(super) async fn ask<T: Wire>(&self, method: &str, arguments: &impl Wire) -> Result<T> {
        let question = encode(arguments);
        if question.len() > MAX_QUESTION {
            let rule = format!("must have at most {MAX_QUESTION} bytes over Thrift");
            return Err(api::Error::invalid("request", rule));
        }
        if question.len() > LARGE {
            let known = encode(&wire::InfoArguments { caller: self.asker() });
            let _: wire::Info = self.send(self.call("info", known)).await?;
        }
        self.send(self.call(method, question)).await
    }

    pub(super) fn call(&self, method: &str, question: bytes::Bytes) -> Call {
        Call::new(self.service.clone(), method, question).with_timeout(PATIENCE)
    }

    pub(super) async fn send<T: Wire>(&self, call: Call) -> Result<T> {
        let mut peer = Peer::at(&self.options.address);
        peer.metadata = Some(&self.manner);
        let body = match self.caller.call(peer, call).await {
            Ok(reply) => reply.payload,
            Err(error) if error.kind() == CallErrorKind::Application => error.body().clone(),
            Err(error) => return Err(unanswered(&error)),
        };
        let outcome: Outcome<T> = decode(&body).map_err(corrupt)?;
        match outcome {
            Outcome { error: Some(error), .. } => Err(Form::from_wire(error)?),
            Outcome { value: Some(value), .. } => Ok(value),
            // A void function answers with an empty struct.
            Outcome { .. } if T::KIND == Void::KIND => decode(&[]).map_err(corrupt),
            Outcome { .. } => Err(corrupt("neither a value nor an error")),
        }
    }

    /// Lets go of a watch, if there is still somebody to say so.
    pub(super) fn unwatch(self: &Arc<Self>, watch: i64) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let remote = Arc::clone(self);
        let arguments = wire::UnwatchArguments { caller: self.asker(), watch };
        let call = self.call("unwatch", encode(&arguments)).with_oneway(true);
        // Ends with the deadline of the call; the other side forgets by itself.
        tokio::spawn(async move { remote.send::<Void>(call).await });
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for ThriftRegistry {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        let (caller, registration) = (self.remote.asker(), registration.to_wire());
        let arguments = wire::RegisterArguments { caller, registration };
        let records: Vec<wire::ServiceRecord> = self.remote.ask("register", &arguments).await?;
        all_from_wire(records).map_err(corrupt)
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        let arguments = wire::DeregisterArguments {
            caller: self.remote.asker(),
            owner: owner.as_str().to_owned(),
            services: all_to_wire(services),
        };
        let Void = self.remote.ask("deregister", &arguments).await?;
        Ok(())
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        let (caller, specs) = (self.remote.asker(), all_to_wire(instances));
        let arguments = wire::ConnectArguments { caller, instances: specs };
        let answers: Vec<wire::Connected> = self.remote.ask("connect", &arguments).await?;
        let answers: Vec<Result<Lease>> = all_from_wire(answers).map_err(corrupt)?;
        as_many(answers, instances.len())
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let (caller, beats_sent) = (self.remote.asker(), all_to_wire(beats));
        let arguments = wire::HeartbeatArguments { caller, beats: beats_sent };
        let outcomes: Vec<i32> = self.remote.ask("heartbeat", &arguments).await?;
        let outcomes = outcomes.into_iter().map(model::outcome::read).collect::<Result<_>>();
        as_many(outcomes.map_err(corrupt)?, beats.len())
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        let (caller, instances) = (self.remote.asker(), all_to_wire(instances));
        let arguments = wire::DisconnectArguments { caller, instances };
        let Void = self.remote.ask("disconnect", &arguments).await?;
        Ok(())
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        let (caller, query) = (self.remote.asker(), query.to_wire());
        let arguments = wire::ResolveArguments { caller, query };
        let view: wire::View = self.remote.ask("resolve", &arguments).await?;
        View::from_wire(view).map_err(corrupt)
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        let watching = Watching { remote: Arc::clone(&self.remote), scope: scope.clone() };
        api::mended(watching, &self.info, Arc::clone(&self.remote.clock), from).await
    }
}

/// One answer per question, in order.
fn as_many<T>(answers: Vec<T>, asked: usize) -> Result<Vec<T>> {
    match answers.len() == asked {
        true => Ok(answers),
        false => Err(corrupt("more or fewer answers than questions")),
    }
}

impl Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("options", &self.options).finish_non_exhaustive()
    }
}
