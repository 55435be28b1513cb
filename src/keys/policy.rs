//! The policy: owner keys from the registry, and one master key.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use registry_api::access::{Access, Action, Credential, Principal};
use registry_api::kernel::Replica;
use registry_api::{
    Clock, Error, ErrorKind, KeyChange, KeyHash, Owner, Query, Registration, RegistrationMode,
    Registry, Result, Scope, ServiceName, Timestamp,
};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::index::{Holder, Index};
use super::key::ApiKey;
use crate::view::watching::Watching;

/// Checks API keys against the hashes that the registry holds.
///
/// The hashes are followed by a watch, so a revoked key is refused on every
/// gateway as soon as the change is told. A key that is not known yet costs at
/// most one read of the declarations per 100 ms, however many are tried. While
/// the registry is away, known keys go on working and unknown ones get
/// `Unavailable`.
pub struct KeyAccess {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

struct Shared {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    master: Option<KeyHash>,
    index: ArcSwap<Index>,
    /// When the last read of the declarations began.
    refreshed: Mutex<Option<Timestamp>>,
}

/// The shortest time between two reads because of unknown keys.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

impl KeyAccess {
    /// A policy over what `registry` holds. The master key may do everything;
    /// without one nobody may.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: it follows the registry with a task of its own.
    pub fn new(
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
        master: Option<&ApiKey>,
    ) -> Self {
        let shared = Arc::new(Shared {
            registry,
            clock,
            master: master.map(ApiKey::hash),
            index: ArcSwap::default(),
            refreshed: Mutex::new(None),
        });
        let follower = tokio::spawn(follow(Arc::clone(&shared)));
        Self { shared, follower }
    }

    /// Gives an owner one more key. Errors: `Conflict` when it has two already,
    /// `NotFound` when it has declared nothing.
    pub async fn issue(&self, owner: &Owner) -> Result<ApiKey> {
        let key = ApiKey::generate();
        self.change(owner, KeyChange::Add(key.hash())).await?;
        Ok(key)
    }

    /// Takes a key away from an owner; one it does not have is passed over.
    pub async fn revoke(&self, owner: &Owner, key: KeyHash) -> Result<()> {
        self.change(owner, KeyChange::Revoke(key)).await
    }

    /// The hashes of an owner's live keys.
    pub async fn keys(&self, owner: &Owner) -> Result<Vec<KeyHash>> {
        let view = self.shared.registry.resolve(&Query::of(Scope::Declarations)).await?;
        match view.services.iter().find(|record| record.owner == *owner) {
            Some(record) => Ok(record.keys.to_vec()),
            None => Err(unknown_owner(owner)),
        }
    }

    /// Whether no owner with keys has declared a service, as far as is known.
    pub fn is_free(&self, service: &ServiceName) -> bool {
        self.shared.index.load().is_free(service)
    }

    /// Knows everything that was declared before this call.
    pub async fn refresh(&self) -> Result<()> {
        self.shared.read().await
    }

    async fn change(&self, owner: &Owner, change: KeyChange) -> Result<()> {
        self.keys(owner).await?; // An owner without a service would lose the key at once.
        let registration = Registration::new(owner.clone(), RegistrationMode::Merge, Vec::new());
        self.shared.registry.register(registration.with_keys(change)).await?;
        self.refresh().await
    }
}

#[async_trait]
impl Access for KeyAccess {
    async fn authorize(&self, credential: &Credential, action: &Action<'_>) -> Result<Principal> {
        let asked = self.shared.clock.now();
        if let (Action::Create(_), true) = (action, credential.is_none()) {
            return Ok(Principal::Anonymous); // Registering is how one gets a key.
        }
        if credential.is_none() {
            return Err(Error::new(ErrorKind::Unauthenticated, "an API key is needed"));
        }
        let key = ApiKey::from_text(credential.expose()).hash();
        if self.shared.master == Some(key) {
            return Ok(Principal::Master);
        }
        match self.shared.decide(&key, action) {
            // What is not known yet may have been declared a moment ago.
            Err(_) => {
                self.shared.refresh_since(asked).await?;
                self.shared.decide(&key, action)
            }
            decided => decided,
        }
    }
}

impl Shared {
    fn decide(&self, key: &KeyHash, action: &Action<'_>) -> Result<Principal> {
        let index = self.index.load();
        let Some(holder) = index.holder(key) else {
            return Err(Error::new(ErrorKind::Unauthenticated, "the API key is not known"));
        };
        match permits(holder, action) {
            true => Ok(Principal::Owner(holder.owner.clone())),
            false => Err(Error::new(
                ErrorKind::PermissionDenied,
                "the API key does not belong to the owner of this service",
            )),
        }
    }

    /// Reads the declarations unless that was begun after `asked`.
    async fn refresh_since(&self, asked: Timestamp) -> Result<()> {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|begun| begun >= asked) {
            return Ok(());
        }
        if let Some(begun) = *refreshed {
            self.clock.sleep_until(begun + REFRESH_INTERVAL).await;
        }
        let begun = self.clock.now();
        self.read().await?;
        *refreshed = Some(begun);
        Ok(())
    }

    async fn read(&self) -> Result<()> {
        let view = self.registry.resolve(&Query::of(Scope::Declarations)).await?;
        self.publish(Index::new(Some(view.revision), view.services.iter()));
        Ok(())
    }

    fn publish(&self, index: Index) {
        let index = Arc::new(index);
        self.index.rcu(|known| match index.may_replace(known) {
            true => Arc::clone(&index),
            false => Arc::clone(known),
        });
    }
}

fn permits(holder: &Holder, action: &Action<'_>) -> bool {
    let owns = |name: &ServiceName| holder.services.contains(name);
    match action {
        Action::Serve(services) => !services.is_empty() && services.iter().all(owns),
        Action::Update(owner) => holder.owner == **owner,
        Action::Read => true,
        _ => false,
    }
}

/// What is known stays in force while the registry is away.
async fn follow(shared: Arc<Shared>) {
    let (registry, clock) = (Arc::clone(&shared.registry), Arc::clone(&shared.clock));
    let mut watching = Watching::new(registry, clock, Scope::Declarations);
    let mut replica = Replica::new();
    loop {
        let Ok(item) = watching.next().await else { continue };
        if replica.apply(item) {
            let records = replica.services().values();
            shared.publish(Index::new(replica.revision(), records));
        }
    }
}

fn unknown_owner(owner: &Owner) -> Error {
    Error::new(ErrorKind::NotFound, "the owner has declared no service").with("owner", owner)
}

impl Drop for KeyAccess {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Debug for KeyAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAccess").field("registry", &self.shared.registry).finish_non_exhaustive()
    }
}
