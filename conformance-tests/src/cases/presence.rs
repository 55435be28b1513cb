//! Connect and disconnect: epochs, batches, several services, finality.

use registry_api::{
    Address, Epoch, ErrorKind, InstanceSpec, LeaseTerms, Limits, Metadata, Offer, Phase,
    RegistryExt,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{
    address, beat, events, granted, id, instance, life, offer, offering, query, scope, service,
};

cases! { "presence":
    "R1" a_presence_is_visible_on_another_handle
    "R2" the_same_connect_again_changes_nothing
    "R2" changed_data_updates_in_place_with_one_upsert
    "R3" an_older_epoch_is_refused_and_changes_nothing
    "R3" a_newer_epoch_supersedes
    "R3" an_epoch_left_to_the_registry_supersedes
    "R4" instances_of_names_that_look_alike_stay_apart
    "R5" limits_on_instances_name_the_field
    "R5" ids_metadata_and_addresses_round_trip
    "R6" disconnect_is_final_and_idempotent
    "R6" disconnect_of_another_life_is_passed_over
    "R6" a_late_beat_does_not_undo_a_disconnect
    "R7" one_bad_entry_leaves_the_others_untouched
    "R7" an_instance_with_several_services_appears_and_disappears_at_once
}

async fn a_presence_is_visible_on_another_handle(cx: &Ctx) -> Result<(), Failure> {
    let another = cx.another().await?;
    let lease = granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let view = another.resolve(&query("a")).await?;
    let seen = view.instance(&id("i")).map(|i| (i.epoch, i.terms, i.is_routable()));
    check_eq(&seen, &Some((lease.epoch, lease.terms, true)), "the instance")?;
    check(view.revision >= lease.revision, "the view is older than the lease")
}

async fn the_same_connect_again_changes_nothing(cx: &Ctx) -> Result<(), Failure> {
    let spec = instance("i", "a", cx.lasting());
    let mut watch = cx.registry().watch(&scope("a"), Default::default()).await?;
    cx.next(&mut watch).await?;
    let first = granted(cx.registry().connect(std::slice::from_ref(&spec)).await)?;
    cx.next(&mut watch).await?;
    let again = granted(cx.registry().connect(&[spec]).await)?;
    check_eq(&(again.epoch, again.revision), &(first.epoch, first.revision), "the lease")?;
    cx.silent(&mut watch).await
}

async fn changed_data_updates_in_place_with_one_upsert(cx: &Ctx) -> Result<(), Failure> {
    let spec = instance("i", "a", cx.lasting());
    cx.registry().connect(std::slice::from_ref(&spec)).await?;
    let mut watch = cx.registry().watch(&scope("a"), Default::default()).await?;
    cx.next(&mut watch).await?;
    let heavier = offering("i", [offer("a").with_weight(77)], cx.lasting());
    granted(cx.registry().connect(&[heavier]).await)?;
    let seen = events(cx.next(&mut watch).await?)?;
    match &seen[..] {
        [registry_api::Event::Upsert(i)] => {
            check_eq(&i.offers[0].weight.0, &77, "the new weight")?;
            check_eq(&i.epoch, &Epoch(1), "the epoch")?;
        }
        other => return Err(Failure::new(format!("one upsert was due, saw {other:?}"))),
    }
    cx.silent(&mut watch).await
}

async fn an_older_epoch_is_refused_and_changes_nothing(cx: &Ctx) -> Result<(), Failure> {
    let spec = instance("i", "a", cx.lasting()).with_epoch(Epoch(5));
    granted(cx.registry().connect(std::slice::from_ref(&spec)).await)?;
    let before = cx.all().await?;
    let older = spec.with_epoch(Epoch(4)).with_phase(Phase::Draining);
    match cx.registry().connect_one(older).await {
        Err(error) => check_eq(&error.kind(), &ErrorKind::Conflict, "an older epoch")?,
        Ok(_) => return Err(Failure::new("an older epoch was let in")),
    }
    check_eq(&cx.all().await?, &before, "what is there")
}

async fn a_newer_epoch_supersedes(cx: &Ctx) -> Result<(), Failure> {
    use registry_api::{BeatOutcome, Cause, Event};
    let spec = instance("i", "a", cx.lasting());
    granted(cx.registry().connect(std::slice::from_ref(&spec)).await)?;
    let mut watch = cx.registry().watch(&scope("a"), Default::default()).await?;
    cx.next(&mut watch).await?;
    granted(cx.registry().connect(&[spec.with_epoch(Epoch(2))]).await)?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Remove { epoch: Epoch(1), cause: Cause::Superseded, .. }, Event::Upsert(i)]
            if i.epoch == Epoch(2) => {}
        other => {
            return Err(Failure::new(format!("expected a supersession, saw {other:?}")));
        }
    }
    let old = cx.registry().heartbeat_one(beat("i", 1)).await?;
    check_eq(&old, &BeatOutcome::Superseded, "a beat of the old life")
}

async fn an_epoch_left_to_the_registry_supersedes(cx: &Ctx) -> Result<(), Failure> {
    let spec = instance("i", "a", cx.lasting()).with_epoch(Epoch(1000));
    granted(cx.registry().connect(&[spec]).await)?;
    let open = InstanceSpec::new(id("i"), [offer("a")]).with_terms(cx.lasting());
    let chosen = granted(cx.registry().connect(&[open]).await)?;
    check(chosen.epoch > Epoch(1000), "the chosen epoch does not supersede")?;
    check_eq(&cx.all().await?.instances.len(), &1, "instances")
}

async fn instances_of_names_that_look_alike_stay_apart(cx: &Ctx) -> Result<(), Failure> {
    let names = ["a", "ab", "a.b", "A", "a%", "é", "e\u{301}"];
    let mut watch = cx.registry().watch(&scope("a"), Default::default()).await?;
    cx.next(&mut watch).await?;
    for name in names.iter().rev() {
        granted(cx.registry().connect(&[instance(name, name, cx.lasting())]).await)?;
    }
    for name in names {
        let view = cx.registry().resolve(&query(name)).await?;
        let seen: Vec<_> = view.instances.iter().map(|i| i.id.to_string()).collect();
        check_eq(&seen, &vec![name.to_owned()], name)?;
    }
    match &events(cx.next(&mut watch).await?)?[..] {
        [registry_api::Event::Upsert(i)] => check_eq(&i.id, &id("a"), "what a watch of a saw"),
        other => Err(Failure::new(format!("the watch of a saw {other:?}"))),
    }
}

async fn limits_on_instances_name_the_field(cx: &Ctx) -> Result<(), Failure> {
    let many = (0..=Limits::MAX_OFFERS).map(|n| offer(&format!("s{n}")));
    let crowded = Offer::at(
        service("a"),
        (0..=Limits::MAX_ADDRESSES).map(|n| address(&format!("tcp://h:{}", n + 1))),
    );
    let long = offer("a").with_zone(&"z".repeat(Limits::MAX_TEXT + 1));
    for (offers, field) in [
        (many.collect::<Vec<_>>(), "offers"),
        (vec![offer("a"), offer("a")], "offers"),
        (vec![crowded], "addresses"),
        (vec![long], "zone"),
    ] {
        match cx.registry().connect_one(offering("i", offers, cx.lasting())).await {
            Err(error) => {
                check_eq(&error.kind(), &ErrorKind::InvalidArgument, field)?;
                check_eq(&error.context("field"), &Some(field), "the field that is named")?;
            }
            Ok(_) => return Err(Failure::new(format!("a broken {field} was accepted"))),
        }
    }
    check(cx.all().await?.instances.is_empty(), "a refused instance left something")
}

async fn ids_metadata_and_addresses_round_trip(cx: &Ctx) -> Result<(), Failure> {
    let ids = ["10.0.0.1:80", "'; DROP TABLE x; --", "%_\\", "🦀/é", "a b", &"i".repeat(255)];
    let pairs = [("k", ""), ("K", "v"), ("k%2F", "tab\tü"), ("quote\"'", "{\"a\":[1]}")];
    let metadata = Metadata::new(pairs)?;
    let addresses = [
        "tcp4://169.254.128.35:4321/",
        "thrift://[2001:db8::1]:9",
        "amqp:server-x-1",
        "reverse:gw/c-1",
    ];
    let addresses = addresses.map(|text| Address::parse(text).expect("a literal"));
    let offer = Offer::at(service("a"), addresses)
        .with_version("1.2.3+b")
        .with_zone("eu west")
        .with_weight(0)
        .with_metadata(metadata);
    let specs = ids.map(|text| offering(text, [offer.clone()], cx.lasting()));
    for answer in cx.registry().connect(&specs).await? {
        answer?;
    }
    let view = cx.another().await?.resolve(&query("a")).await?;
    for text in ids {
        let seen = view.instance(&id(text)).map(|i| i.offers.to_vec());
        check_eq(&seen, &Some(vec![offer.clone()]), text)?;
    }
    Ok(())
}

async fn disconnect_is_final_and_idempotent(cx: &Ctx) -> Result<(), Failure> {
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let another = cx.another().await?;
    for _ in 0..2 {
        cx.registry().disconnect(&[life("i", 1), life("never", 1)]).await?;
        check(!cx.lists(&id("i")).await?, "it is still listed")?;
        let gone = another.resolve(&query("a")).await;
        check(gone.is_err_and(|e| e.kind() == ErrorKind::NotFound), "another handle lists it")?;
    }
    Ok(())
}

async fn disconnect_of_another_life_is_passed_over(cx: &Ctx) -> Result<(), Failure> {
    let spec = instance("i", "a", cx.lasting()).with_epoch(Epoch(5));
    granted(cx.registry().connect(&[spec]).await)?;
    cx.registry().disconnect(&[life("i", 4), life("i", 6)]).await?;
    check(cx.lists(&id("i")).await?, "somebody else's leaving removed it")
}

async fn a_late_beat_does_not_undo_a_disconnect(cx: &Ctx) -> Result<(), Failure> {
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    cx.registry().disconnect(&[life("i", 1)]).await?;
    let late = cx.registry().heartbeat_one(beat("i", 1)).await?;
    check_eq(&late, &registry_api::BeatOutcome::Unknown, "the late beat")?;
    check(!cx.lists(&id("i")).await?, "the late beat brought it back")
}

async fn one_bad_entry_leaves_the_others_untouched(cx: &Ctx) -> Result<(), Failure> {
    granted(
        cx.registry().connect(&[instance("i25", "a", cx.lasting()).with_epoch(Epoch(9))]).await,
    )?;
    let name = |n: usize| format!("i{n}");
    let specs: Vec<_> = (0..50).map(|n| instance(&name(n), "a", cx.lasting())).collect();
    let answers = cx.registry().connect(&specs).await?;
    check_eq(&answers.len(), &50, "answers")?;
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(lease) => check_eq(&lease.id, &id(&name(place)), "the order of the answers")?,
            Err(error) => {
                check_eq(&place, &25, "the entry that failed")?;
                check_eq(&error.kind(), &ErrorKind::Conflict, "why it failed")?;
            }
        }
    }
    let view = cx.all().await?;
    check_eq(&view.instances.len(), &50, "instances")?;
    let kept = view.instance(&id("i25")).map(|i| i.epoch);
    check_eq(&kept, &Some(Epoch(9)), "the life that was there")
}

async fn an_instance_with_several_services_appears_and_disappears_at_once(
    cx: &Ctx,
) -> Result<(), Failure> {
    let terms: LeaseTerms = cx.lasting();
    let offers = ["a", "b", "c"].map(offer);
    granted(cx.registry().connect(&[offering("i", offers, terms)]).await)?;
    for name in ["a", "b", "c"] {
        let view = cx.registry().resolve(&query(name)).await?;
        check(view.instance(&id("i")).is_some(), format_args!("not under {name}"))?;
    }
    cx.registry().disconnect(&[life("i", 1)]).await?;
    for name in ["a", "b", "c"] {
        let view = cx.registry().resolve(&query(name)).await;
        check(view.is_err(), format_args!("still under {name}"))?;
    }
    Ok(())
}
