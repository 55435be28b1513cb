//! The serving side: questions of the IDL to registries of this process.
//!
//! It decides nothing but who may ask: access is asked before anything else,
//! and the registries behind it check what they are given.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api as api;
use registry_api::access::{Access, Action, Credential, Principal};
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use registry_api::{Error, ErrorKind, Namespace, Registry, Result, ServiceName};

use super::error::{answer, malformed};
use super::known::{Known, live};
use super::model::{self, Form, all_from_wire, all_to_wire};
use super::record as wire;
use super::record::{Void, decode};
use super::watches::Watches;
use super::{MAX_ANSWER, MAX_UNPROVEN, SERVICE};
use crate::{HostOptions, ThriftHost};

/// Serves registries over Thrift, one per namespace.
#[derive(Debug)]
pub struct RegistryHandler {
    spaces: BTreeMap<Namespace, Space>,
    access: Arc<dyn Access>,
    watches: Watches,
}

/// One namespace.
#[derive(Debug)]
struct Space {
    registry: Arc<dyn Registry>,
    known: Known,
}

/// Who asks, and for what.
struct Asker<'a> {
    name: Namespace,
    space: &'a Space,
    credential: Credential,
}

impl RegistryHandler {
    /// A handler that asks `access` about everybody.
    pub fn new(access: Arc<dyn Access>) -> Self {
        Self { spaces: BTreeMap::new(), access, watches: Watches::new() }
    }

    /// Serves `registry` as this namespace.
    #[must_use]
    pub fn with_namespace(mut self, name: Namespace, registry: Arc<dyn Registry>) -> Self {
        self.spaces.insert(name, Space { registry, known: Known::new() });
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
        let name = Namespace::parse(&caller.space)?;
        let space = self.spaces.get(&name).ok_or_else(|| {
            Error::new(ErrorKind::PermissionDenied, "the namespace is not served here")
        })?;
        Ok(Asker { name, space, credential: Credential::key(caller.credential.clone()) })
    }

    async fn allow(&self, asker: &Asker<'_>, action: &Action<'_>) -> Result<Principal> {
        self.access.authorize(&asker.credential, action).await
    }

    async fn info(&self, arguments: wire::InfoArguments) -> Result<wire::Info> {
        let asker = self.asker(&arguments.caller)?;
        self.allow(&asker, &Action::Read).await?;
        Ok(model::info_to_wire(asker.space.registry.info()))
    }

    async fn register(
        &self,
        arguments: wire::RegisterArguments,
    ) -> Result<Vec<wire::ServiceRecord>> {
        let asker = self.asker(&arguments.caller)?;
        let registration = api::Registration::from_wire(arguments.registration)?;
        let action = match registration.mode {
            api::RegistrationMode::Create => Action::Create(&registration.owner),
            api::RegistrationMode::Merge | api::RegistrationMode::Replace => {
                Action::Update(&registration.owner)
            }
        };
        self.allow(&asker, &action).await?;
        Ok(all_to_wire(&asker.space.registry.register(registration).await?))
    }

    async fn deregister(&self, arguments: wire::DeregisterArguments) -> Result<Void> {
        let asker = self.asker(&arguments.caller)?;
        let owner = api::Owner::parse(&arguments.owner)?;
        self.allow(&asker, &Action::Update(&owner)).await?;
        let services: Vec<_> = all_from_wire(arguments.services)?;
        asker.space.registry.deregister(&owner, &services).await.map(|()| Void)
    }

    /// Entries are independent: one that cannot be read, or is not allowed,
    /// leaves the others untouched.
    async fn connect(&self, arguments: wire::ConnectArguments) -> Result<Vec<wire::Connected>> {
        let asker = self.asker(&arguments.caller)?;
        let mut read = Vec::with_capacity(arguments.instances.len().min(1024));
        for instance in arguments.instances {
            read.push(match api::InstanceSpec::from_wire(instance) {
                Ok(spec) => self.may_connect(&asker, &spec).await.map(|()| spec),
                Err(error) => Err(error),
            });
        }
        let specs: Vec<_> = read.iter().flatten().cloned().collect();
        let leases = match specs.is_empty() {
            true => Vec::new(),
            false => asker.space.registry.connect(&specs).await?,
        };
        for (spec, lease) in specs.iter().zip(&leases) {
            if let Ok(lease) = lease {
                asker.space.known.connected(&spec.id, lease.epoch, services_of(&spec.offers));
            }
        }
        let mut leases = leases.into_iter();
        let answers = read.into_iter().map(|read| {
            let lease = read.and_then(|_| {
                let short = || Error::new(ErrorKind::Corrupt, "the backend answered too few");
                leases.next().unwrap_or_else(|| Err(short()))
            });
            lease.to_wire()
        });
        Ok(answers.collect())
    }

    async fn may_serve(&self, asker: &Asker<'_>, services: &[ServiceName]) -> Result<Principal> {
        self.allow(asker, &Action::Serve(services)).await
    }

    /// An owner may not push out an instance of somebody else by taking its id.
    async fn may_connect(&self, asker: &Asker<'_>, spec: &api::InstanceSpec) -> Result<()> {
        let principal = self.may_serve(asker, &services_of(&spec.offers)).await?;
        if matches!(principal, Principal::Master | Principal::Anonymous) {
            return Ok(());
        }
        match live(&*asker.space.registry, &spec.id).await? {
            Some(other) => self.may_serve(asker, &services_of(&other.offers)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether the asker may act for all of these; those that are not live are
    /// nobody's, and acting for nobody takes only being somebody.
    async fn may_act(&self, asker: &Asker<'_>, lives: &[api::InstanceRef]) -> Result<()> {
        if let Principal::Master = self.allow(asker, &Action::Read).await? {
            return Ok(()); // May do everything: whose they are needs no reading.
        }
        let mut allowed: Option<Arc<[ServiceName]>> = None;
        for life in lives {
            let services = asker.space.known.services(&*asker.space.registry, life).await?;
            let Some(services) = services else { continue };
            if allowed.as_ref() != Some(&services) {
                self.may_serve(asker, &services).await?;
                allowed = Some(services);
            }
        }
        Ok(())
    }

    async fn heartbeat(&self, arguments: wire::HeartbeatArguments) -> Result<Vec<i32>> {
        let asker = self.asker(&arguments.caller)?;
        let beats: Vec<api::Beat> = all_from_wire(arguments.beats)?;
        let life = |beat: &api::Beat| api::InstanceRef { id: beat.id.clone(), epoch: beat.epoch };
        self.may_act(&asker, &beats.iter().map(life).collect::<Vec<_>>()).await?;
        let outcomes = asker.space.registry.heartbeat(&beats).await?;
        for (beat, outcome) in beats.iter().zip(&outcomes) {
            if *outcome == api::BeatOutcome::Unknown {
                asker.space.known.forget(&beat.id, beat.epoch);
            }
        }
        Ok(outcomes.into_iter().map(model::outcome::number).collect())
    }

    async fn disconnect(&self, arguments: wire::DisconnectArguments) -> Result<Void> {
        let asker = self.asker(&arguments.caller)?;
        let instances: Vec<api::InstanceRef> = all_from_wire(arguments.instances)?;
        self.may_act(&asker, &instances).await?;
        asker.space.registry.disconnect(&instances).await?;
        instances.iter().for_each(|life| asker.space.known.forget(&life.id, life.epoch));
        Ok(Void)
    }

    async fn resolve(&self, arguments: wire::ResolveArguments) -> Result<wire::View> {
        let asker = self.asker(&arguments.caller)?;
        let principal = self.allow(&asker, &Action::Read).await?;
        let view = asker.space.registry.resolve(&Form::from_wire(arguments.query)?).await?;
        let mut view = view.to_wire();
        view.services.iter_mut().for_each(|record| hide_keys(record, &principal));
        Ok(view)
    }

    async fn watch(&self, arguments: wire::WatchArguments) -> Result<i64> {
        let asker = self.asker(&arguments.caller)?;
        self.allow(&asker, &Action::Read).await?;
        let from = match arguments.after {
            Some(revision) => api::WatchFrom::Revision(Form::from_wire(revision)?),
            None => api::WatchFrom::Now,
        };
        let scope = Form::from_wire(arguments.scope)?;
        let stream = asker.space.registry.watch(&scope, from).await?;
        self.watches.open(asker.name, stream)
    }

    async fn poll(&self, arguments: wire::PollArguments) -> Result<wire::Polled> {
        let asker = self.asker(&arguments.caller)?;
        let principal = self.allow(&asker, &Action::Read).await?;
        let wait = Duration::from_millis(u64::try_from(arguments.wait_ms).unwrap_or_default());
        let (items, refusal) = self.watches.poll(&asker.name, arguments.watch, wait).await?;
        let mut items = all_to_wire(&items);
        items.iter_mut().for_each(|item| hide_item_keys(item, &principal));
        Ok(wire::Polled { items, error: refusal.map(|error| error.to_wire()) })
    }

    fn unwatch(&self, arguments: &wire::UnwatchArguments) -> Result<Void> {
        let asker = self.asker(&arguments.caller)?;
        self.watches.close(&asker.name, arguments.watch);
        Ok(Void)
    }
}

fn services_of(offers: &[api::Offer]) -> Vec<ServiceName> {
    offers.iter().map(|offer| offer.service.clone()).collect()
}

/// Hashes of keys are for their owner and for the operator.
fn hide_keys(record: &mut wire::ServiceRecord, principal: &Principal) {
    let shown = match principal {
        Principal::Master | Principal::Anonymous => true,
        Principal::Owner(owner) => owner.as_str() == record.owner,
        _ => false,
    };
    if !shown {
        record.keys.clear();
    }
}

fn hide_item_keys(item: &mut wire::WatchItem, principal: &Principal) {
    let reset = item.reset.iter_mut().flat_map(|view| view.services.iter_mut());
    reset.for_each(|record| hide_keys(record, principal));
    let changes = item.changes.iter_mut().flat_map(|changes| changes.events.iter_mut());
    changes.filter_map(|event| event.service.as_mut()).for_each(|r| hide_keys(r, principal));
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
