//! Rights and certificates: as little as is needed is enough, and less is refused.

use std::time::Duration;

use conformance_tests::fixtures::{beat, instance, life, query, registration, scope};
use conformance_tests::servers::{Recipe, etcd};
use etcd_client::Permission;
use portolan::{
    BeatOutcome, ErrorKind, LeaseTerms, RegistrationMode, Registry, RegistryExt, WatchFrom,
};

use super::{Outcome, Place, broken, check, next, soon};
use crate::certificates::Certificates;
use crate::etcd::EtcdWorld;

const PASSWORD: &str = "secret-of-svc";

/// A server where `svc` may do everything below the prefix of the world, and
/// nothing else.
async fn guarded(place: &Place, arguments: &[&str]) -> Result<EtcdWorld, Outcome> {
    let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
    let world = place.alone(&Recipe { arguments, ..Recipe::default() }).await?;
    let mut client = world.client().await;
    let prefix = world.root().replace("default/", "");
    let below = Permission::read_write(prefix).with_prefix();
    client.role_add("registry").await.map_err(broken)?;
    client.role_grant_permission("registry", below).await.map_err(broken)?;
    for (user, password, role) in [("root", "root", "root"), ("svc", PASSWORD, "registry")] {
        client.user_add(user, password, None).await.map_err(broken)?;
        client.user_grant_role(user, role).await.map_err(broken)?;
    }
    client.auth_enable().await.map_err(broken)?;
    Ok(world)
}

fn as_user(url: &str, user: &str) -> String {
    url.replace("etcd://", &format!("etcd://{user}@"))
}

/// Everything a registry is asked for.
async fn works(registry: &dyn Registry) -> Result<(), Outcome> {
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    registry.register(registration("o", RegistrationMode::Create, &["a"])).await?;
    next(&mut watch).await?;
    for lease in registry.connect(&[instance("i", "a", LeaseTerms::default())]).await? {
        lease?;
    }
    next(&mut watch).await?;
    let outcomes = registry.heartbeat(&[beat("i", 1)]).await?;
    check(outcomes == [BeatOutcome::Renewed], format_args!("{outcomes:?}"))?;
    check(registry.resolve(&query("a")).await?.instances.len() == 1, "it is not listed")?;
    registry.disconnect(&[life("i", 1)]).await?;
    next(&mut watch).await?;
    Ok(registry
        .deregister(
            &conformance_tests::fixtures::owner("o"),
            &[conformance_tests::fixtures::service("a")],
        )
        .await?)
}

pub(super) async fn rights_on_the_prefix_are_enough_and_less_is_refused(
    place: &Place,
) -> Result<(), Outcome> {
    let world = guarded(place, &[]).await?;
    let open = |url: String| async move { crate::etcd::open(&url, &Default::default()).await };
    let registry = open(as_user(&world.url(), &format!("svc:{PASSWORD}"))).await?;
    works(&*registry).await?;
    for (url, kind) in [
        (as_user(&world.url(), "svc:wrong"), ErrorKind::Unauthenticated),
        (as_user(&world.url(), &format!("nobody:{PASSWORD}")), ErrorKind::Unauthenticated),
        (world.url(), ErrorKind::Unauthenticated),
        (
            as_user(&world.url().replace("/test/", "/other/"), &format!("svc:{PASSWORD}")),
            ErrorKind::PermissionDenied,
        ),
    ] {
        let error = open(url.clone()).await.err();
        let error = error.ok_or_else(|| Outcome::Broken(format!("{url} was let in")))?;
        check(error.kind() == kind, format_args!("{url}: {error:?}"))?;
        let told = format!("{error:?}");
        check(!told.contains(PASSWORD) && !told.contains("wrong"), "a password is shown")?;
    }
    Ok(())
}

pub(super) async fn a_token_that_ended_is_renewed_on_every_lane(
    place: &Place,
) -> Result<(), Outcome> {
    let world = guarded(place, &["--auth-token-ttl=1"]).await?;
    let url = as_user(&world.url(), &format!("svc:{PASSWORD}"));
    let registry = crate::etcd::open(&url, &Default::default()).await?;
    let terms = LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200))?;
    registry.connect_one(instance("i", "a", terms)).await?;
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    // Nobody says anything for longer than a token lasts.
    for round in 0..2 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let outcomes = registry.heartbeat(&[beat("i", 1)]).await?;
        check(outcomes == [BeatOutcome::Renewed], format_args!("{outcomes:?}"))?;
        registry.connect_one(instance(&format!("j{round}"), "a", terms)).await?;
        next(&mut watch).await?;
        check(registry.resolve(&query("a")).await?.instances.len() == round + 2, "a read")?;
    }
    Ok(())
}

pub(super) async fn certificates_are_checked_both_ways(_: &Place) -> Result<(), Outcome> {
    let certificates = Certificates::make()?;
    let tls = Some(certificates.server());
    let server = etcd(&Recipe { tls, ..Recipe::default() })?;
    let url = |parameters: &str| format!("etcds://{}/shop{parameters}", server.address());
    let open = |url: String| async move { crate::etcd::open(&url, &Default::default()).await };
    let good = url(&certificates.good());
    soon("it is ready", || async { Ok(open(good.clone()).await.is_ok()) }).await?;
    works(&*open(good.clone()).await?).await?;
    let plain = format!("etcd://{}/shop", server.address());
    for url in certificates.bad().iter().map(|bad| url(bad)).chain([plain]) {
        let error = open(url.clone()).await.err();
        let error = error.ok_or_else(|| Outcome::Broken(format!("{url} was let in")))?;
        let kind = error.kind();
        let fits = [ErrorKind::Unavailable, ErrorKind::Timeout].contains(&kind);
        check(fits, format_args!("{url}: {error:?}"))?;
    }
    let missing = open(url(&certificates.missing())).await.err();
    let error = missing.ok_or_else(|| Outcome::Broken("no CA, no error".into()))?;
    check(error.kind() == ErrorKind::InvalidArgument, format_args!("{error:?}"))?;
    check(error.context("field") == Some("ca"), format_args!("{error:?}"))
}
