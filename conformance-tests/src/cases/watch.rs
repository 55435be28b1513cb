//! Watches: no hole, no repetition, no surprise.

use std::time::Duration;

use registry_api::{
    Cause, Epoch, Event, Health, Query, RegistrationMode, Scope, WatchFrom, WatchItem,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{
    events, granted, id, instance, life, offer, offering, owner, registration, scope, service,
};

cases! { "watch":
    "W1" starts_with_a_reset_and_continues_without_a_hole
    "W1" writes_racing_the_start_are_seen_once
    "W1" each_write_is_one_item_with_its_own_revision
    "W1" declarations_are_told_too
    "W2" fifty_changes_in_one_write_arrive_together
    "W2" fifty_expiries_in_one_tick_yield_fifty_removals
    "W2" an_instance_with_32_offers_is_one_event
    "W7" watching_an_unknown_service_starts_empty
    "W9" every_removal_names_its_cause
    "W10" changes_arrive_without_waiting_for_a_poll [Push]
}

async fn starts_with_a_reset_and_continues_without_a_hole(cx: &Ctx) -> Result<(), Failure> {
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let mut watch = cx.registry().watch(&Scope::All, WatchFrom::Now).await?;
    let WatchItem::Reset(view) = cx.next(&mut watch).await? else {
        return Err(Failure::new("the first item is no reset"));
    };
    check_eq(&view, &cx.all().await?, "the reset")?;
    // Between the snapshot and the next poll, where naive watches lose writes.
    granted(cx.registry().connect(&[instance("j", "a", cx.lasting())]).await)?;
    granted(cx.registry().connect(&[instance("k", "a", cx.lasting())]).await)?;
    for expected in ["j", "k"] {
        match &events(cx.next(&mut watch).await?)?[..] {
            [Event::Upsert(i)] => check_eq(&i.id, &id(expected), "the next instance")?,
            other => return Err(Failure::new(format!("one upsert was due, saw {other:?}"))),
        }
    }
    cx.silent(&mut watch).await
}

async fn writes_racing_the_start_are_seen_once(cx: &Ctx) -> Result<(), Failure> {
    let writer = cx.another().await?;
    let terms = cx.lasting();
    let name = |n: u32| format!("i{n}");
    let write = async {
        for n in 0..40 {
            let spec = instance(&name(n), "a", terms);
            granted(writer.connect(&[spec]).await)?;
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(())
    };
    let start = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(cx.registry().watch(&scope("a"), WatchFrom::Now).await?)
    };
    let (written, watch) = tokio::join!(write, start);
    written?;
    let mut watch = watch?;
    let WatchItem::Reset(view) = cx.next(&mut watch).await? else {
        return Err(Failure::new("the first item is no reset"));
    };
    let mut seen: Vec<_> = view.instances.iter().map(|i| i.id.clone()).collect();
    while seen.len() < 40 {
        for event in events(cx.next(&mut watch).await?)? {
            match event {
                Event::Upsert(i) if !seen.contains(&i.id) => seen.push(i.id.clone()),
                other => return Err(Failure::new(format!("seen twice: {other:?}"))),
            }
        }
    }
    cx.silent(&mut watch).await
}

async fn each_write_is_one_item_with_its_own_revision(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&Scope::All, WatchFrom::Now).await?;
    let mut last = cx.next(&mut watch).await?.revision();
    for n in 0..10 {
        let name = format!("i{n}");
        let lease = granted(cx.registry().connect(&[instance(&name, "a", cx.lasting())]).await)?;
        let item = cx.next(&mut watch).await?;
        check(item.revision() > last, "a revision did not grow")?;
        check_eq(&item.revision(), &lease.revision, "the revision of the write")?;
        check_eq(&events(item)?.len(), &1, "events of one write")?;
        last = lease.revision;
    }
    Ok(())
}

async fn declarations_are_told_too(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&Scope::Declarations, WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let create = registration("o", RegistrationMode::Create, &["a"]);
    let records = cx.registry().register(create).await?;
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    cx.registry().deregister(&owner("o"), &[service("a")]).await?;
    let declared = events(cx.next(&mut watch).await?)?;
    check_eq(&declared, &vec![Event::Service(records[0].clone())], "the declaration")?;
    let withdrawn = events(cx.next(&mut watch).await?)?;
    let name = service("a");
    check_eq(&withdrawn, &vec![Event::ServiceRemoved { name }], "the withdrawal")
}

async fn fifty_changes_in_one_write_arrive_together(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let name = |n: u32| format!("i{n:02}");
    let specs: Vec<_> = (0..50).map(|n| instance(&name(n), "a", cx.lasting())).collect();
    cx.registry().connect(&specs).await?;
    // Nothing forbids a backend to commit a batch in parts, each atomic.
    let mut seen = Vec::new();
    while seen.len() < 50 {
        for event in events(cx.next(&mut watch).await?)? {
            let Event::Upsert(i) = event else {
                return Err(Failure::new(format!("upserts were due, saw {event:?}")));
            };
            seen.push(i.id.to_string());
        }
    }
    seen.sort();
    check_eq(&seen, &(0..50).map(name).collect(), "the fifty instances")
}

async fn fifty_expiries_in_one_tick_yield_fifty_removals(cx: &Ctx) -> Result<(), Failure> {
    let name = |n: u32| format!("i{n:02}");
    let specs: Vec<_> = (0..50).map(|n| instance(&name(n), "a", cx.terms())).collect();
    let answers = cx.registry().connect(&specs).await?;
    let terms = granted(Ok(answers))?.terms;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    cx.advance(terms.ttd() + cx.slack()).await;
    let mut gone = Vec::new();
    while gone.len() < 50 {
        for event in events(cx.next(&mut watch).await?)? {
            match event {
                Event::Health { health: Health::Offline, .. } => {}
                Event::Remove { id, cause: Cause::Expired, .. } => gone.push(id.to_string()),
                other => return Err(Failure::new(format!("expiries were due, saw {other:?}"))),
            }
        }
    }
    gone.sort();
    check_eq(&gone, &(0..50).map(name).collect(), "the fifty removals")?;
    cx.silent(&mut watch).await
}

async fn an_instance_with_32_offers_is_one_event(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&Scope::All, WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let offers = (0..32).map(|n| offer(&format!("s{n}")));
    granted(cx.registry().connect(&[offering("i", offers, cx.lasting())]).await)?;
    match &events(cx.next(&mut watch).await?)?[..] {
        [Event::Upsert(i)] => check_eq(&i.offers.len(), &32, "the offers")?,
        other => return Err(Failure::new(format!("one upsert was due, saw {other:?}"))),
    }
    cx.registry().disconnect(&[life("i", 1)]).await?;
    check_eq(&events(cx.next(&mut watch).await?)?.len(), &1, "events of its leaving")?;
    cx.silent(&mut watch).await
}

async fn watching_an_unknown_service_starts_empty(cx: &Ctx) -> Result<(), Failure> {
    granted(cx.registry().connect(&[instance("j", "b", cx.lasting())]).await)?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    let WatchItem::Reset(view) = cx.next(&mut watch).await? else {
        return Err(Failure::new("the first item is no reset"));
    };
    check(view.instances.is_empty() && view.services.is_empty(), "it is not empty")?;
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    check_eq(&events(cx.next(&mut watch).await?)?.len(), &1, "the first registration")
}

async fn every_removal_names_its_cause(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let spec = |name| instance(name, "a", cx.terms());
    let terms = granted(cx.registry().connect(&[spec("left")]).await)?.terms;
    granted(cx.registry().connect(&[spec("moved")]).await)?;
    granted(cx.registry().connect(&[spec("moved").with_epoch(Epoch(2))]).await)?;
    cx.registry().disconnect(&[life("left", 1)]).await?;
    cx.advance(terms.ttd() + cx.slack()).await;
    let mut causes = Vec::new();
    while causes.len() < 3 {
        for event in events(cx.next(&mut watch).await?)? {
            if let Event::Remove { id, epoch, cause } = event {
                causes.push((id.to_string(), epoch.0, cause));
            }
        }
    }
    let expected = [
        ("moved", 1, Cause::Superseded),
        ("left", 1, Cause::Deregistered),
        ("moved", 2, Cause::Expired),
    ];
    let expected = expected.map(|(id, epoch, cause)| (id.to_owned(), epoch, cause));
    check_eq(&causes, &expected.to_vec(), "the removals")
}

async fn changes_arrive_without_waiting_for_a_poll(cx: &Ctx) -> Result<(), Failure> {
    let writer = cx.another().await?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    let mut late = 0;
    for n in 0..100 {
        let name = format!("i{n}");
        let sent = cx.now();
        granted(writer.connect(&[instance(&name, "a", cx.lasting())]).await)?;
        cx.next(&mut watch).await?;
        late += u32::from(cx.now().since(sent) > Duration::from_millis(500));
    }
    check(late <= 1, format_args!("{late} of 100 changes took more than 500 ms"))?;
    let view = cx.registry().resolve(&Query::all()).await?;
    check_eq(&view.instances.len(), &100, "instances")
}
