//! Namespaces: worlds that share nothing.

use registry_api::{ErrorKind, Query, RegistrationMode, Scope, WatchFrom, WatchItem};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{beat, granted, id, instance, life, owner, query, registration, service};

cases! { "tenancy":
    "S1" reads_and_watches_stay_within_a_namespace
    "S1" writes_stay_within_a_namespace
}

async fn reads_and_watches_stay_within_a_namespace(cx: &Ctx) -> Result<(), Failure> {
    let elsewhere = cx.elsewhere().await?;
    let mut watch = elsewhere.watch(&Scope::All, WatchFrom::Now).await?;
    let WatchItem::Reset(view) = cx.next(&mut watch).await? else {
        return Err(Failure::new("the first item is no reset"));
    };
    check(view.instances.is_empty(), "another namespace begins with something")?;
    cx.registry().register(registration("o", RegistrationMode::Create, &["a"])).await?;
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    match elsewhere.resolve(&query("a")).await {
        Err(error) => check_eq(&error.kind(), &ErrorKind::NotFound, "the other namespace")?,
        Ok(_) => return Err(Failure::new("a read crossed the border")),
    }
    let everything = elsewhere.resolve(&Query::all()).await?;
    let count = everything.instances.len() + everything.services.len();
    check_eq(&count, &0, "what the other namespace counts")?;
    cx.silent(&mut watch).await
}

async fn writes_stay_within_a_namespace(cx: &Ctx) -> Result<(), Failure> {
    let elsewhere = cx.elsewhere().await?;
    let create = || registration("o", RegistrationMode::Create, &["a"]);
    cx.registry().register(create()).await?;
    elsewhere.register(create()).await?;
    let spec = instance("i", "a", cx.lasting());
    granted(cx.registry().connect(std::slice::from_ref(&spec)).await)?;

    let stranger = elsewhere.heartbeat(&[beat("i", 1)]).await?;
    check_eq(&stranger, &vec![registry_api::BeatOutcome::Unknown], "a beat from elsewhere")?;
    elsewhere.disconnect(&[life("i", 1)]).await?;
    elsewhere.deregister(&owner("o"), &[service("a")]).await?;
    let view = cx.registry().resolve(&query("a")).await?;
    check(view.instance(&id("i")).is_some(), "a leave crossed the border")?;
    check(view.service(&service("a")).is_some(), "a withdrawal crossed the border")
}
