//! API keys: rotation, revocation, and that nobody ever sees one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portolan::{ApiKey, KeyAccess};
use registry_api::access::{Access, Action, Credential, Principal};
use registry_api::{
    BeatOutcome, ErrorKind, KeyChange, KeyHash, Owner, Query, Registration, RegistrationMode,
    Registry, RegistryExt, Result, Scope, WatchFrom,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{beat, granted, instance, life, owner, registration, service};
use crate::target::KeyRing;

cases! { "keys":
    "R10" two_keys_live_for_rotation
    "R10" a_revoked_key_is_refused_within_five_seconds
    "R10" only_hashes_of_keys_are_stored
    "S2" a_wrong_key_opens_nothing
    "S2" a_revoked_key_is_refused_by_every_verb
    "S3" secrets_are_never_printed
}

/// How often a key that is being revoked is tried.
const STEP: Duration = Duration::from_millis(100);

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

/// An instance of `a` that joined with a key, and what it joined with.
async fn joined(cx: &Ctx, ring: &dyn KeyRing) -> Result<(String, Arc<dyn Registry>), Failure> {
    let key = ring.issue(&owner("o")).await?;
    let handle = cx.world().handle_as(ring.access(), Credential::key(&key)).await?;
    granted(handle.connect(&[instance("i", "a", cx.lasting())]).await)?;
    Ok((key, handle))
}

async fn a_wrong_key_opens_nothing(cx: &Ctx) -> Result<(), Failure> {
    let ring = ring(cx).await?;
    let (key, _) = joined(cx, &*ring).await?;
    let wrong = [Credential::none(), Credential::key("wrong"), Credential::key(key + "x")];
    let before = cx.all().await?;
    for credential in wrong {
        match cx.world().handle_as(ring.access(), credential).await {
            // Over wires, what a handle asks first is what the registry is.
            Err(error) => check_eq(&error.kind(), &ErrorKind::Unauthenticated, "opening")?,
            Ok(handle) => refused_by_every_verb(cx, &*handle).await?,
        }
    }
    check_eq(&cx.all().await?, &before, "what there is")
}

async fn a_revoked_key_is_refused_by_every_verb(cx: &Ctx) -> Result<(), Failure> {
    let ring = ring(cx).await?;
    let (key, handle) = joined(cx, &*ring).await?;
    check_eq(&handle.heartbeat_one(beat("i", 1)).await?, &BeatOutcome::Renewed, "a beat")?;
    ring.revoke(&owner("o"), &key).await?;
    let mut waited = Duration::ZERO;
    while handle.resolve(&Query::all()).await.is_ok() {
        check(waited < Duration::from_secs(5), "a revoked key still reads")?;
        cx.advance(STEP).await;
        waited += STEP;
    }
    let before = cx.all().await?;
    refused_by_every_verb(cx, &*handle).await?;
    check_eq(&cx.all().await?, &before, "what there is")
}

/// Asks for everything that somebody who may serve and declare `a` gets.
async fn refused_by_every_verb(cx: &Ctx, handle: &dyn Registry) -> Result<(), Failure> {
    let merge = registration("o", RegistrationMode::Merge, &["a", "b"]);
    let joined = handle.connect(&[instance("j", "a", cx.lasting())]).await;
    let told = match handle.watch(&Scope::All, WatchFrom::Now).await {
        Ok(mut watch) => watch.next().await.map_or(Ok(()), |item| item.map(drop)),
        Err(error) => Err(error),
    };
    let answers = [
        ("register", handle.register(merge).await.map(drop)),
        ("deregister", handle.deregister(&owner("o"), &[service("a")]).await),
        ("connect", joined.and_then(|each| each.into_iter().try_for_each(|one| one.map(drop)))),
        ("heartbeat", handle.heartbeat(&[beat("i", 1)]).await.map(drop)),
        ("disconnect", handle.disconnect(&[life("i", 1)]).await),
        ("resolve", handle.resolve(&Query::all()).await.map(drop)),
        ("watch", told),
    ];
    for (verb, answer) in answers {
        let kind = answer.err().map(|error| error.kind());
        check_eq(&kind, &Some(ErrorKind::Unauthenticated), verb)?;
    }
    Ok(())
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
