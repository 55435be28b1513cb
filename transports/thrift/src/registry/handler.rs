//! The serving side: questions of the IDL, put to the [`Desk`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api as api;
use registry_api::access::{Access, Asker, Credential, Desk};
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use registry_api::{Namespace, Registry, Result, ServiceName};

use super::error::{answer, malformed};
use super::model::{self, Form, all_from_wire, all_to_wire};
use super::record as wire;
use super::record::{Void, decode};
use super::watches::Watches;
use super::{MAX_ANSWER, MAX_UNPROVEN, SERVICE};
use crate::{HostOptions, ThriftHost};

/// Serves registries over Thrift, one per namespace.
#[derive(Debug)]
pub struct RegistryHandler {
    desk: Desk,
    watches: Watches,
}

impl RegistryHandler {
    /// A handler that asks `access` about everybody.
    pub fn new(access: Arc<dyn Access>) -> Self {
        Self { desk: Desk::new(access), watches: Watches::new() }
    }

    /// Serves `registry` as this namespace.
    #[must_use]
    pub fn with_namespace(mut self, name: Namespace, registry: Arc<dyn Registry>) -> Self {
        self.desk = self.desk.with_namespace(name, registry);
        self
    }

    /// The name of the service, as the IDL says it.
    pub fn service() -> ServiceName {
        ServiceName::parse(SERVICE).expect("a constant that is a name")
    }

    /// The options of a host for it: large answers, small questions until one
    /// was answered.
    pub fn host_options() -> HostOptions {
        HostOptions::default().with_max_message(MAX_ANSWER, MAX_UNPROVEN)
    }

    /// Serves it at `address`.
    pub async fn serve(self, address: SocketAddr) -> io::Result<ThriftHost> {
        let handler: Arc<dyn Handler> = Arc::new(self);
        ThriftHost::serve(Self::service(), address, handler, Self::host_options()).await
    }

    fn asker(&self, caller: &wire::Caller) -> Result<Asker<'_>> {
        let credential = Credential::key(caller.credential.clone());
        self.desk.asker(&Namespace::parse(&caller.space)?, credential)
    }

    async fn info(&self, arguments: wire::InfoArguments) -> Result<wire::Info> {
        let asker = self.asker(&arguments.caller)?;
        Ok(model::info_to_wire(asker.info().await?))
    }

    async fn register(
        &self,
        arguments: wire::RegisterArguments,
    ) -> Result<Vec<wire::ServiceRecord>> {
        let registration = api::Registration::from_wire(arguments.registration)?;
        Ok(all_to_wire(&self.asker(&arguments.caller)?.register(registration).await?))
    }

    async fn deregister(&self, arguments: wire::DeregisterArguments) -> Result<Void> {
        let owner = api::Owner::parse(&arguments.owner)?;
        let services: Vec<_> = all_from_wire(arguments.services)?;
        self.asker(&arguments.caller)?.deregister(&owner, &services).await.map(|()| Void)
    }

    async fn connect(&self, arguments: wire::ConnectArguments) -> Result<Vec<wire::Connected>> {
        let entries = arguments.instances.into_iter().map(Form::from_wire).collect();
        let leases = self.asker(&arguments.caller)?.connect(entries).await?;
        Ok(all_to_wire(&leases))
    }

    async fn heartbeat(&self, arguments: wire::HeartbeatArguments) -> Result<Vec<i32>> {
        let beats: Vec<api::Beat> = all_from_wire(arguments.beats)?;
        let outcomes = self.asker(&arguments.caller)?.heartbeat(&beats).await?;
        Ok(outcomes.into_iter().map(model::outcome::number).collect())
    }

    async fn disconnect(&self, arguments: wire::DisconnectArguments) -> Result<Void> {
        let instances: Vec<api::InstanceRef> = all_from_wire(arguments.instances)?;
        self.asker(&arguments.caller)?.disconnect(&instances).await.map(|()| Void)
    }

    async fn resolve(&self, arguments: wire::ResolveArguments) -> Result<wire::View> {
        let query = Form::from_wire(arguments.query)?;
        Ok(self.asker(&arguments.caller)?.resolve(&query).await?.to_wire())
    }

    async fn watch(&self, arguments: wire::WatchArguments) -> Result<i64> {
        let from = match arguments.after {
            Some(revision) => api::WatchFrom::Revision(Form::from_wire(revision)?),
            None => api::WatchFrom::Now,
        };
        let scope = Form::from_wire(arguments.scope)?;
        let stream = self.asker(&arguments.caller)?.watch(&scope, from).await?;
        self.watches.open(Namespace::parse(&arguments.caller.space)?, stream)
    }

    /// The key may have been revoked since the watch was opened.
    async fn poll(&self, arguments: wire::PollArguments) -> Result<wire::Polled> {
        self.asker(&arguments.caller)?.may_read().await?;
        let space = Namespace::parse(&arguments.caller.space)?;
        let wait = Duration::from_millis(u64::try_from(arguments.wait_ms).unwrap_or_default());
        let (items, refusal) = self.watches.poll(&space, arguments.watch, wait).await?;
        let items = all_to_wire(&items);
        Ok(wire::Polled { items, error: refusal.map(|error| error.to_wire()) })
    }

    fn unwatch(&self, arguments: &wire::UnwatchArguments) -> Result<Void> {
        self.asker(&arguments.caller)?;
        self.watches.close(&Namespace::parse(&arguments.caller.space)?, arguments.watch);
        Ok(Void)
    }
}

#[async_trait]
impl Handler for RegistryHandler {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let body = &*call.payload;
        macro_rules! ask {
            ($method:ident) => {
                answer(self.$method(decode(body).map_err(|error| malformed(&error))?).await)
            };
        }
        match call.method.as_str() {
            "info" => ask!(info),
            "register" => ask!(register),
            "deregister" => ask!(deregister),
            "connect" => ask!(connect),
            "heartbeat" => ask!(heartbeat),
            "disconnect" => ask!(disconnect),
            "resolve" => ask!(resolve),
            "watch" => ask!(watch),
            "poll" => ask!(poll),
            "unwatch" => answer(self.unwatch(&decode(body).map_err(|error| malformed(&error))?)),
            _ => {
                Err(CallError::new(CallErrorKind::UnknownMethod, "the registry has no such method"))
            }
        }
    }
}
