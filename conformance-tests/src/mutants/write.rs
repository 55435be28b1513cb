//! Defects of writes, and of how keys are written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use registry_api::access::{Access, Action, Credential, Principal};
use registry_api::{
    Error, ErrorKind, InstanceId, InstanceRef, InstanceSpec, KeyChange, KeyHash, Lease, Owner,
    Query, Registration, RegistrationMode, Registry, Result,
};

use super::flawed::Defect;
use crate::target::KeyRing;

/// Lets one bad entry spoil the batch.
#[derive(Debug)]
struct WholeBatch;

#[async_trait]
impl Defect for WholeBatch {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        let leases: Result<Vec<Lease>> = inner.connect(instances).await?.into_iter().collect();
        match leases {
            Ok(leases) => Ok(leases.into_iter().map(Ok).collect()),
            Err(error) if instances.len() > 1 => Err(error),
            Err(error) => Ok(vec![Err(error)]),
        }
    }
}

pub(super) fn whole_batch() -> Arc<dyn Defect> {
    Arc::new(WholeBatch)
}

/// Removes an instance from its first service only.
#[derive(Debug, Default)]
struct PartialRemoval(Mutex<HashMap<InstanceId, InstanceSpec>>);

#[async_trait]
impl Defect for PartialRemoval {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        let known = instances.iter().map(|spec| (spec.id.clone(), spec.clone()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
        inner.connect(instances).await
    }

    async fn disconnect(&self, inner: &Arc<dyn Registry>, left: &[InstanceRef]) -> Result<()> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for reference in left {
            match known.get(&reference.id) {
                Some(spec) if spec.offers.len() > 1 => {
                    let mut rest = spec.clone();
                    rest.offers = spec.offers[1..].into();
                    inner.connect(&[rest]).await?;
                }
                _ => inner.disconnect(std::slice::from_ref(reference)).await?,
            }
        }
        Ok(())
    }
}

pub(super) fn partial_removal() -> Arc<dyn Defect> {
    Arc::new(PartialRemoval::default())
}

/// Keys whose first 32 bytes are stored as they are.
#[derive(Debug)]
pub(super) struct ClearKeys {
    registry: Arc<dyn Registry>,
}

impl ClearKeys {
    pub(super) fn new(registry: Arc<dyn Registry>) -> Self {
        Self { registry }
    }

    async fn change(&self, owner: &Owner, keys: KeyChange) -> Result<()> {
        let merge = Registration::new(owner.clone(), RegistrationMode::Merge, Vec::new());
        self.registry.register(merge.with_keys(keys)).await?;
        Ok(())
    }
}

fn in_clear(key: &str) -> KeyHash {
    let mut bytes = [0; 32];
    for (place, byte) in key.bytes().take(32).enumerate() {
        bytes[place] = byte;
    }
    KeyHash(bytes)
}

#[async_trait]
impl KeyRing for ClearKeys {
    async fn issue(&self, owner: &Owner) -> Result<String> {
        let view = self.registry.resolve(&Query::all()).await?;
        // Different enough to pass for a key in every other case.
        let key = format!("{:032}-secret", view.revision.number);
        self.change(owner, KeyChange::Add(in_clear(&key))).await?;
        Ok(key)
    }

    async fn revoke(&self, owner: &Owner, key: &str) -> Result<()> {
        self.change(owner, KeyChange::Revoke(in_clear(key))).await
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(Self::new(Arc::clone(&self.registry)))
    }
}

#[async_trait]
impl Access for ClearKeys {
    async fn authorize(&self, credential: &Credential, action: &Action<'_>) -> Result<Principal> {
        let key = in_clear(credential.expose());
        let view = self.registry.resolve(&Query::all()).await?;
        let holds = |record: &&Arc<registry_api::ServiceRecord>| record.keys.contains(&key);
        let Some(record) = view.services.iter().find(holds) else {
            return Err(Error::new(ErrorKind::Unauthenticated, "the key is not known"));
        };
        match action {
            Action::Serve(services) if !services.contains(&record.spec.name) => {
                Err(Error::new(ErrorKind::PermissionDenied, "not for this key"))
            }
            _ => Ok(Principal::Owner(record.owner.clone())),
        }
    }
}

/// Whoever was let in once is let in for ever.
#[derive(Debug)]
pub(super) struct Remembering {
    access: Arc<dyn Access>,
    known: Mutex<Vec<(String, Principal)>>,
}

impl Remembering {
    pub(super) fn new(access: Arc<dyn Access>) -> Self {
        Self { access, known: Mutex::default() }
    }
}

#[async_trait]
impl Access for Remembering {
    async fn authorize(&self, credential: &Credential, action: &Action<'_>) -> Result<Principal> {
        let key = credential.expose();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().iter().find(|(known, _)| known == key).cloned();
        if let Some((_, principal)) = found {
            return Ok(principal);
        }
        let principal = self.access.authorize(credential, action).await?;
        known().push((key.to_owned(), principal.clone()));
        Ok(principal)
    }
}
