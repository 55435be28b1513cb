//! The registries of a process, asked by others over some wire: who may ask for
//! what is decided here, once for all wires.
//!
//! It decides nothing else: the registries behind it check what they are given.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::known::{Known, live, services_of};
use super::{Access, Action, Credential, Principal};
use crate::capability::Info;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Namespace, Owner, ServiceName};
use crate::instance::{InstanceRef, InstanceSpec};
use crate::lease::{Beat, BeatOutcome, Lease};
use crate::query::{Query, Scope, View};
use crate::registry::Registry;
use crate::service::{Registration, RegistrationMode, ServiceRecord};
use crate::watch::{Event, WatchFrom, WatchItem, WatchStream};

/// Registries by namespace, and the policy about them.
pub struct Desk {
    spaces: BTreeMap<Namespace, Space>,
    access: Arc<dyn Access>,
}

/// One namespace.
struct Space {
    registry: Arc<dyn Registry>,
    known: Known,
}

/// Somebody who asks, in one namespace. Every question is put to the policy
/// before it reaches the registry.
pub struct Asker<'a> {
    space: &'a Space,
    access: &'a dyn Access,
    credential: Credential,
}

impl Desk {
    /// A desk that asks `access` about everybody.
    pub fn new(access: Arc<dyn Access>) -> Self {
        Self { spaces: BTreeMap::new(), access }
    }

    /// Serves `registry` as this namespace.
    #[must_use]
    pub fn with_namespace(mut self, name: Namespace, registry: Arc<dyn Registry>) -> Self {
        self.spaces.insert(name, Space { registry, known: Known::default() });
        self
    }

    /// Somebody who shows this credential.
    ///
    /// Errors: `PermissionDenied` where the namespace is not served.
    pub fn asker(&self, namespace: &Namespace, credential: Credential) -> Result<Asker<'_>> {
        let space = self.spaces.get(namespace).ok_or_else(|| {
            Error::new(ErrorKind::PermissionDenied, "the namespace is not served here")
        })?;
        Ok(Asker { space, access: &*self.access, credential })
    }
}

impl Asker<'_> {
    async fn allow(&self, action: &Action<'_>) -> Result<Principal> {
        self.access.authorize(&self.credential, action).await
    }

    /// Who it is, if it may read: what an open watch asks again and again.
    pub async fn may_read(&self) -> Result<Principal> {
        self.allow(&Action::Read).await
    }

    /// What the registry says of itself.
    pub async fn info(&self) -> Result<&Info> {
        self.may_read().await?;
        Ok(self.space.registry.info())
    }

    /// [`Registry::register`].
    pub async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        let action = match registration.mode {
            RegistrationMode::Create => Action::Create(&registration.owner),
            RegistrationMode::Merge | RegistrationMode::Replace => {
                Action::Update(&registration.owner)
            }
        };
        self.allow(&action).await?;
        self.space.registry.register(registration).await
    }

    /// [`Registry::deregister`].
    pub async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.allow(&Action::Update(owner)).await?;
        self.space.registry.deregister(owner, services).await
    }

    /// [`Registry::connect`]. Entries are independent: one that could not be
    /// read, or is not allowed, leaves the others untouched.
    pub async fn connect(&self, entries: Vec<Result<InstanceSpec>>) -> Result<Vec<Result<Lease>>> {
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            read.push(match entry {
                Ok(spec) => self.may_connect(&spec).await.map(|()| spec),
                Err(error) => Err(error),
            });
        }
        let specs: Vec<_> = read.iter().flatten().cloned().collect();
        let leases = match specs.is_empty() {
            true => Vec::new(),
            false => self.space.registry.connect(&specs).await?,
        };
        for (spec, lease) in specs.iter().zip(&leases) {
            if let Ok(lease) = lease {
                self.space.known.connected(&spec.id, lease.epoch, services_of(&spec.offers));
            }
        }
        let mut leases = leases.into_iter();
        let short = || Error::new(ErrorKind::Corrupt, "the backend answered too few");
        let answers =
            read.into_iter().map(|read| read.and_then(|_| leases.next().unwrap_or(Err(short()))));
        Ok(answers.collect())
    }

    async fn may_serve(&self, services: &[ServiceName]) -> Result<Principal> {
        self.allow(&Action::Serve(services)).await
    }

    /// Whether this instance may join. An owner may not push out an instance of
    /// somebody else by taking its id.
    pub async fn may_connect(&self, spec: &InstanceSpec) -> Result<()> {
        let principal = self.may_serve(&services_of(&spec.offers)).await?;
        if matches!(principal, Principal::Master | Principal::Anonymous) {
            return Ok(());
        }
        match live(&*self.space.registry, &spec.id).await? {
            Some(other) => self.may_serve(&services_of(&other.offers)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether an instance of these services may stay: what an open connection of
    /// one asks again and again. A key may be revoked.
    pub async fn may_stay(&self, services: &[ServiceName]) -> Result<()> {
        match services.is_empty() {
            true => self.may_read().await.map(drop),
            false => self.may_serve(services).await.map(drop),
        }
    }

    /// Whether the asker may act for all of these; those that are not live are
    /// nobody's, and acting for nobody takes only being somebody.
    async fn may_act(&self, lives: &[InstanceRef]) -> Result<()> {
        if let Principal::Master = self.may_read().await? {
            return Ok(()); // May do everything: whose they are needs no reading.
        }
        let mut allowed: Option<Arc<[ServiceName]>> = None;
        for life in lives {
            let services = self.space.known.services(&*self.space.registry, life).await?;
            let Some(services) = services else { continue };
            if allowed.as_ref() != Some(&services) {
                self.may_serve(&services).await?;
                allowed = Some(services);
            }
        }
        Ok(())
    }

    /// [`Registry::heartbeat`].
    pub async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let life = |beat: &Beat| InstanceRef { id: beat.id.clone(), epoch: beat.epoch };
        self.may_act(&beats.iter().map(life).collect::<Vec<_>>()).await?;
        let outcomes = self.space.registry.heartbeat(beats).await?;
        for (beat, outcome) in beats.iter().zip(&outcomes) {
            if *outcome == BeatOutcome::Unknown {
                self.space.known.forget(&beat.id, beat.epoch);
            }
        }
        Ok(outcomes)
    }

    /// [`Registry::disconnect`].
    pub async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.may_act(instances).await?;
        self.space.registry.disconnect(instances).await?;
        instances.iter().for_each(|life| self.space.known.forget(&life.id, life.epoch));
        Ok(())
    }

    /// [`Registry::resolve`].
    pub async fn resolve(&self, query: &Query) -> Result<View> {
        let principal = self.may_read().await?;
        let mut view = self.space.registry.resolve(query).await?;
        hide_keys_of_view(&mut view, &principal);
        Ok(view)
    }

    /// [`Registry::watch`]. Whoever serves it asks [`may_read`](Self::may_read)
    /// again while it is open: a key may be revoked.
    pub async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        let principal = self.may_read().await?;
        let inner = self.space.registry.watch(scope, from).await?;
        Ok(WatchStream::new(Hiding { inner, principal }))
    }
}

/// A watch whose hashes of keys are shown only to whom they concern.
struct Hiding {
    inner: WatchStream,
    principal: Principal,
}

impl Stream for Hiding {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.inner).poll_next(cx);
        next.map_ok(|mut item| {
            match &mut item {
                WatchItem::Reset(view) => hide_keys_of_view(view, &self.principal),
                WatchItem::Changes { events, .. } => {
                    for event in events {
                        if let Event::Service(record) = event {
                            hide_keys(record, &self.principal);
                        }
                    }
                }
                WatchItem::Progress(_) => {}
            }
            item
        })
    }
}

fn hide_keys_of_view(view: &mut View, principal: &Principal) {
    view.services.iter_mut().for_each(|record| hide_keys(record, principal));
}

/// Hashes of keys are for their owner and for the operator.
fn hide_keys(record: &mut Arc<ServiceRecord>, principal: &Principal) {
    let shown = match principal {
        Principal::Master | Principal::Anonymous => true,
        Principal::Owner(owner) => *owner == record.owner,
    };
    if !shown && !record.keys.is_empty() {
        Arc::make_mut(record).keys = Arc::default();
    }
}

impl Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("namespaces", &self.spaces.keys()).finish_non_exhaustive()
    }
}

impl Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("credential", &self.credential).finish_non_exhaustive()
    }
}
