//! API keys: rotation, revocation, and that nobody ever sees one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portolan::{ApiKey, KeyAccess};
use registry_api::access::{Access, Action, Credential, Principal};
use registry_api::{
    ErrorKind, KeyChange, KeyHash, Owner, Query, Registration, RegistrationMode, Registry, Result,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{owner, registration, service};
use crate::target::KeyRing;

cases! { "keys":
    "R10" two_keys_live_for_rotation
    "R10" a_revoked_key_is_refused_within_five_seconds
    "R10" only_hashes_of_keys_are_stored
    "S3" secrets_are_never_printed
}

/// The facade's keys and policy.
pub(crate) struct FacadeKeys {
    registry: Arc<dyn Registry>,
    access: KeyAccess,
}

/// A clock for the policy: real, since it only bounds how often it reads.
fn clock() -> Arc<dyn registry_api::Clock> {
    Arc::new(portolan::SystemClock)
}

impl FacadeKeys {
    pub(crate) fn new(registry: Arc<dyn Registry>) -> Self {
        let access = KeyAccess::new(Arc::clone(&registry), clock(), None);
        Self { registry, access }
    }
}

#[async_trait]
impl KeyRing for FacadeKeys {
    async fn issue(&self, owner: &Owner) -> Result<String> {
        Ok(self.access.issue(owner).await?.expose().to_owned())
    }

    async fn revoke(&self, owner: &Owner, key: &str) -> Result<()> {
        self.access.revoke(owner, ApiKey::from_text(key).hash()).await
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(KeyAccess::new(Arc::clone(&self.registry), clock(), None))
    }
}

/// Keys on this world, and an owner that declared `a`.
async fn ring(cx: &Ctx) -> Result<Box<dyn KeyRing>, Failure> {
    cx.registry().register(registration("o", RegistrationMode::Create, &["a"])).await?;
    let ring = cx.world().key_ring(cx.another().await?);
    ring.ok_or_else(|| Failure::absent("the target has no API keys"))
}

/// What a gateway says to a key that wants to serve `a`.
async fn ask(access: &dyn Access, key: &str) -> Result<Principal> {
    let services = [service("a")];
    access.authorize(&Credential::key(key), &Action::Serve(&services)).await
}

async fn two_keys_live_for_rotation(cx: &Ctx) -> Result<(), Failure> {
    let ring = ring(cx).await?;
    let (first, second) = (ring.issue(&owner("o")).await?, ring.issue(&owner("o")).await?);
    let access = ring.access();
    for key in [&first, &second] {
        let principal = ask(&*access, key).await?;
        check_eq(&principal, &Principal::Owner(owner("o")), "who the key belongs to")?;
    }
    match ring.issue(&owner("o")).await {
        Err(error) => check_eq(&error.kind(), &ErrorKind::Conflict, "a third key")?,
        Ok(_) => return Err(Failure::new("an owner got three keys")),
    }
    let elsewhere = [service("b")];
    let stranger = access.authorize(&Credential::key(first), &Action::Serve(&elsewhere)).await;
    let kind = stranger.err().map(|error| error.kind());
    check_eq(&kind, &Some(ErrorKind::PermissionDenied), "somebody else's service")
}

async fn a_revoked_key_is_refused_within_five_seconds(cx: &Ctx) -> Result<(), Failure> {
    let ring = ring(cx).await?;
    let (kept, revoked) = (ring.issue(&owner("o")).await?, ring.issue(&owner("o")).await?);
    let gateways = [ring.access(), ring.access()];
    for gateway in &gateways {
        ask(&**gateway, &revoked).await?;
    }
    ring.revoke(&owner("o"), &revoked).await?;
    cx.advance(Duration::from_secs(5)).await;
    for gateway in &gateways {
        let kind = ask(&**gateway, &revoked).await.err().map(|error| error.kind());
        check_eq(&kind, &Some(ErrorKind::Unauthenticated), "a revoked key")?;
        ask(&**gateway, &kept).await?;
    }
    Ok(())
}

async fn only_hashes_of_keys_are_stored(cx: &Ctx) -> Result<(), Failure> {
    let ring = ring(cx).await?;
    let key = ring.issue(&owner("o")).await?;
    let view = cx.registry().resolve(&Query::all()).await?;
    let mut stored = Vec::new();
    for record in &view.services {
        let json = serde_json::to_vec(&**record);
        stored.extend(json.map_err(|error| Failure::new(error.to_string()))?);
        stored.extend(record.keys.iter().flat_map(|hash| hash.0));
    }
    // Any eight characters of the secret would be a leak.
    let leaked =
        key.as_bytes().windows(8).any(|part| stored.windows(8).any(|window| window == part));
    check(!leaked, "a key is stored in clear")?;
    check(ask(&*ring.access(), &key).await.is_ok(), "the stored hash does not open")
}

async fn secrets_are_never_printed(cx: &Ctx) -> Result<(), Failure> {
    let ring = ring(cx).await?;
    let key = ring.issue(&owner("o")).await?;
    let hash = ApiKey::from_text(&key).hash();
    let access = ring.access();
    let refused = ask(&*access, &format!("{key}x")).await.err();
    let again = Registration::new(owner("o"), RegistrationMode::Create, Vec::new());
    let again = again.with_keys(KeyChange::Add(KeyHash([7; 32])));
    let conflict = cx.registry().register(again).await.err();
    let printed = format!(
        "{:?} {access:?} {refused:?} {conflict:?} {:?} {hash:?} {}",
        Credential::key(&key),
        ApiKey::from_text(&key),
        cx.all().await?.services.iter().map(|r| format!("{r:?}")).collect::<String>(),
    );
    check(!printed.contains(&key[10..]), "a key was printed")?;
    let whole_hash: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    check(!printed.contains(&whole_hash), "a whole hash was printed")
}
