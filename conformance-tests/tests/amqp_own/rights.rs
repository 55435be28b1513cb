//! Rights and certificates: as little as is needed is enough, and less is refused.

use std::time::Duration;

use conformance_tests::fixtures::{beat, instance, life, query, registration, scope};
use conformance_tests::servers::{Recipe, rabbitmq};
use portolan::{
    BeatOutcome, ErrorKind, LeaseTerms, RegistrationMode, Registry, RegistryExt, WatchFrom,
};

use super::{Outcome, Place, check, next, within};
use crate::amqp::AmqpWorld;
use crate::certificates::Certificates;

const PASSWORD: &str = "secret-of-svc";

/// Everything a registry is asked for.
async fn works(registry: &dyn Registry) -> Result<(), Outcome> {
    let mut watch = registry.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    registry.register(registration("o", RegistrationMode::Create, &["a"])).await?;
    next(&mut watch).await?;
    registry.connect_one(instance("i", "a", LeaseTerms::default())).await?;
    next(&mut watch).await?;
    let outcome = registry.heartbeat_one(beat("i", 1)).await?;
    check(outcome == BeatOutcome::Renewed, format_args!("{outcome:?}"))?;
    check(registry.resolve(&query("a")).await?.instances.len() == 1, "it is not listed")?;
    registry.disconnect(&[life("i", 1)]).await?;
    next(&mut watch).await?;
    Ok(())
}

/// The URL of a vhost as a user.
fn url(world: &AmqpWorld, user: &str, vhost: &str, prefix: &str) -> String {
    format!("amqp://{user}@{}/{vhost}?prefix={prefix}", world.broker().address())
}

pub(super) async fn rights_on_the_prefix_are_enough_and_less_is_refused(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let control =
        |arguments: &[&str]| tokio::task::block_in_place(|| world.broker().control(arguments));
    control(&["add_vhost", "shop/eu"])?;
    control(&["add_user", "svc", PASSWORD])?;
    let rights = r"^(mine\..*|amq\.default)$";
    control(&["set_permissions", "-p", "shop/eu", "svc", rights, rights, rights])?;
    let svc = format!("svc:{PASSWORD}");
    let registry = super::open(&url(&world, &svc, "shop%2Feu", "mine")).await?;
    works(&*registry).await?;
    // An empty vhost is the broker's own.
    works(&*super::open(&url(&world, "guest:guest", "", "default")).await?).await?;
    for (url, kind) in [
        (url(&world, "svc:wrong", "shop%2feu", "mine"), ErrorKind::Unauthenticated),
        (url(&world, &format!("nobody:{PASSWORD}"), "", "mine"), ErrorKind::Unauthenticated),
        (url(&world, &svc, "", "mine"), ErrorKind::PermissionDenied),
        (url(&world, &svc, "nowhere", "mine"), ErrorKind::Unavailable),
        (url(&world, &svc, "shop%2feu", "theirs"), ErrorKind::PermissionDenied),
    ] {
        let opened = crate::amqp::open(&url, &Default::default()).await;
        let error = opened.err().ok_or_else(|| Outcome::Broken(format!("{url} was let in")))?;
        check(error.kind() == kind, format_args!("{url}: {error:?}"))?;
        let told = format!("{error:?}");
        check(!told.contains(PASSWORD) && !told.contains("wrong"), "a password is shown")?;
    }
    // Rights that are taken away show when they are needed.
    control(&["change_password", "svc", "another"])?;
    // When one of both connections ends, the other does too, before it is told to.
    let _ = control(&["close_all_user_connections", "svc", "over"]);
    let refused = || async {
        let asked = registry.resolve(&query("a")).await;
        Ok(asked.err().is_some_and(|error| error.kind() == ErrorKind::Unauthenticated))
    };
    within(Duration::from_secs(5), "it says that it is not let in any more", refused).await
}

pub(super) async fn certificates_are_checked_both_ways(_: &Place) -> Result<(), Outcome> {
    let certificates = Certificates::make()?;
    let tls = Some(certificates.server());
    let broker = tokio::task::block_in_place(|| rabbitmq(&Recipe { tls, ..Recipe::default() }))?;
    let url = |parameters: &str| format!("amqps://{}/{parameters}", broker.address());
    let open = |url: String| async move { crate::amqp::open(&url, &Default::default()).await };
    let good = url(&certificates.good());
    open(good.clone()).await?;
    works(&*open(good.clone()).await?).await?;
    let plain = format!("amqp://{}", broker.address());
    for url in certificates.bad().iter().map(|bad| url(bad)).chain([plain]) {
        let error = open(url.clone()).await.err();
        let error = error.ok_or_else(|| Outcome::Broken(format!("{url} was let in")))?;
        check(error.kind() == ErrorKind::Unavailable, format_args!("{url}: {error:?}"))?;
    }
    let missing = open(url(&certificates.missing())).await.err();
    let error = missing.ok_or_else(|| Outcome::Broken("no CA, no error".into()))?;
    check(error.kind() == ErrorKind::InvalidArgument, format_args!("{error:?}"))?;
    check(error.context("field") == Some("ca"), format_args!("{error:?}"))
}
