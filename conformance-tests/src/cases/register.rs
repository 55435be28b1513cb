//! Declarations: visible, idempotent, exclusive, all or nothing.

use futures_util::future::join_all;
use registry_api::RegistrationMode::{Create, Merge, Replace};
use registry_api::{ErrorKind, KeyChange, KeyHash, Limits, Query, Registration, ServiceSpec};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{id, instance, owner, query, registration, scope, service};

cases! { "register":
    "R1" a_declaration_is_visible_on_another_handle
    "R2" the_same_declaration_again_keeps_its_record
    "R4" declarations_that_look_alike_stay_apart
    "R5" limits_on_declarations_name_the_field
    "R8" acknowledged_writes_survive_a_kill [Durable] (alone)
    "R9" one_of_many_racing_creates_wins
    "R9" create_is_refused_for_the_same_owner_too
    "R9" replace_by_the_same_owner_gets_the_same_record
    "R9" a_registration_is_all_or_nothing
    "R9" replace_withdraws_what_it_does_not_name
}

async fn a_declaration_is_visible_on_another_handle(cx: &Ctx) -> Result<(), Failure> {
    let another = cx.another().await?;
    let records = cx.registry().register(registration("o", Create, &["a"])).await?;
    let view = another.resolve(&query("a")).await?;
    check_eq(&view.service(&service("a")), &records.first(), "the declaration of a")
}

async fn the_same_declaration_again_keeps_its_record(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&scope("a"), Default::default()).await?;
    cx.next(&mut watch).await?;
    let first = cx.registry().register(registration("o", Merge, &["a"])).await?;
    cx.next(&mut watch).await?;
    let again = cx.registry().register(registration("o", Merge, &["a"])).await?;
    check_eq(&again, &first, "the record of an unchanged declaration")?;
    cx.silent(&mut watch).await
}

async fn declarations_that_look_alike_stay_apart(cx: &Ctx) -> Result<(), Failure> {
    let names = ["a", "ab", "a.b", "A", "é", "e\u{301}", "a%", "a_"];
    for (place, name) in names.into_iter().enumerate() {
        let spec = ServiceSpec::new(service(name)).with_version(place.to_string());
        let by = owner(&format!("o{place}"));
        cx.registry().register(Registration::new(by, Create, vec![spec])).await?;
    }
    for (place, name) in names.into_iter().enumerate() {
        let view = cx.registry().resolve(&query(name)).await?;
        let versions: Vec<_> = view.services.iter().map(|r| r.spec.version.clone()).collect();
        check_eq(&versions, &vec![place.to_string()], name)?;
    }
    check_eq(&cx.all().await?.services.len(), &names.len(), "all declarations")
}

async fn limits_on_declarations_name_the_field(cx: &Ctx) -> Result<(), Failure> {
    let spec = || ServiceSpec::new(service("a"));
    let long_idl = spec().with_idl("x".repeat(Limits::MAX_IDL + 1));
    let long_text = spec().with_description("x".repeat(Limits::MAX_TEXT + 1));
    for (specs, field) in [
        (vec![long_idl], "idl"),
        (vec![long_text], "description"),
        (vec![spec(), spec()], "services"),
    ] {
        let answer = cx.registry().register(Registration::new(owner("o"), Create, specs)).await;
        let Err(error) = answer else {
            return Err(Failure::new(format!("a broken {field} was accepted")));
        };
        check_eq(&error.kind(), &ErrorKind::InvalidArgument, field)?;
        check_eq(&error.context("field"), &Some(field), "the field that is named")?;
    }
    let homeless = Registration::new(owner("o"), Merge, Vec::new());
    let homeless = homeless.with_keys(KeyChange::Add(KeyHash([7; 32])));
    match cx.registry().register(homeless).await {
        Err(error) => check_eq(&error.context("field"), &Some("keys"), "a key of nobody")?,
        Ok(_) => return Err(Failure::new("a key of nobody was accepted and lost")),
    }
    check(cx.all().await?.services.is_empty(), "a refused declaration left something")
}

async fn acknowledged_writes_survive_a_kill(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().register(registration("o", Create, &["a"])).await?;
    cx.registry().connect(&[instance("i", "a", cx.lasting())]).await?;
    let killed = cx.world().kill_and_restart().await;
    killed.ok_or_else(|| Failure::absent("the target cannot be killed"))?;
    let view = cx.another().await?.resolve(&query("a")).await?;
    check(view.service(&service("a")).is_some(), "the declaration is gone")?;
    check(view.instance(&id("i")).is_some(), "the instance is gone")
}

async fn one_of_many_racing_creates_wins(cx: &Ctx) -> Result<(), Failure> {
    let mut handles = Vec::new();
    for _ in 0..16 {
        handles.push(cx.another().await?);
    }
    let create = |(place, handle): (usize, &std::sync::Arc<dyn registry_api::Registry>)| {
        let handle = handle.clone();
        async move {
            let by = format!("o{place}");
            handle.register(registration(&by, Create, &["a"])).await
        }
    };
    let answers = join_all(handles.iter().enumerate().map(create)).await;
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    check_eq(&won, &1, "winners")?;
    for error in answers.into_iter().filter_map(Result::err) {
        check_eq(&error.kind(), &ErrorKind::AlreadyExists, "what the others get")?;
    }
    Ok(())
}

async fn create_is_refused_for_the_same_owner_too(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().register(registration("o", Create, &["a"])).await?;
    for names in [["a"], ["b"]] {
        match cx.registry().register(registration("o", Create, &names)).await {
            Err(error) => check_eq(&error.kind(), &ErrorKind::AlreadyExists, names[0])?,
            Ok(_) => return Err(Failure::new("an owner was created twice")),
        }
    }
    Ok(())
}

async fn replace_by_the_same_owner_gets_the_same_record(cx: &Ctx) -> Result<(), Failure> {
    let first = cx.registry().register(registration("o", Replace, &["a"])).await?;
    let again = cx.another().await?.register(registration("o", Replace, &["a"])).await?;
    check_eq(&again, &first, "the record")?;
    match cx.registry().register(registration("p", Replace, &["a"])).await {
        Err(error) => check_eq(&error.kind(), &ErrorKind::AlreadyExists, "another owner"),
        Ok(_) => Err(Failure::new("another owner took the name over")),
    }
}

async fn a_registration_is_all_or_nothing(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().register(registration("o", Create, &["taken"])).await?;
    let answer = cx.registry().register(registration("p", Create, &["free", "taken"])).await;
    let error = answer.err().ok_or_else(|| Failure::new("a taken name was given away"))?;
    check_eq(&error.context("service"), &Some("taken"), "the name in the error")?;
    match cx.registry().resolve(&query("free")).await {
        Err(error) => check_eq(&error.kind(), &ErrorKind::NotFound, "the other name"),
        Ok(_) => Err(Failure::new("half of a registration happened")),
    }
}

async fn replace_withdraws_what_it_does_not_name(cx: &Ctx) -> Result<(), Failure> {
    cx.registry().register(registration("o", Create, &["a", "b"])).await?;
    cx.registry().register(registration("o", Merge, &["c"])).await?;
    cx.registry().register(registration("o", Replace, &["b", "d"])).await?;
    let view = cx.registry().resolve(&Query::all()).await?;
    let names: Vec<_> = view.services.iter().map(|r| r.spec.name.to_string()).collect();
    check_eq(&names, &vec!["b".to_owned(), "d".to_owned()], "what is declared")?;
    cx.registry().deregister(&owner("o"), &[service("b"), service("never")]).await?;
    let by_stranger = cx.registry().deregister(&owner("p"), &[service("d")]).await;
    check(by_stranger.is_err(), "a stranger withdrew a declaration")?;
    check_eq(&cx.all().await?.services.len(), &1, "what is left")
}
