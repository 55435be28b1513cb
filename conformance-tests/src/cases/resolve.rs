//! Reads: one snapshot, real answers, the same filters everywhere.

use std::time::Duration;

use registry_api::{
    ErrorKind, Filter, Health, Metadata, Offer, Phase, Query, RegistrationMode, Transport,
    WatchFrom,
};

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check, check_eq};
use crate::fixtures::{
    address, beat, granted, id, instance, life, offer, offering, query, registration, scope,
    service,
};

cases! { "resolve":
    "V1" a_view_is_one_snapshot
    "V2" not_found_is_a_real_answer
    "V2" unreachable_is_unavailable_and_never_not_found
    "V3" filters_give_the_same_set
    "V3" routable_means_online_and_ready
    "V4" a_set_never_becomes_empty_by_an_error
    "V8" reads_and_watches_never_go_back
}

async fn a_view_is_one_snapshot(cx: &Ctx) -> Result<(), Failure> {
    let writer = cx.another().await?;
    let terms = cx.lasting();
    let pair = |round: u32| {
        let member = |name| offering(name, [offer("a").with_weight(round)], terms);
        [member("x"), member("y")]
    };
    for answer in writer.connect(&pair(0)).await? {
        answer?;
    }
    let write = async {
        for round in 1..50 {
            for answer in writer.connect(&pair(round)).await? {
                answer?;
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(())
    };
    let read = async {
        for _ in 0..100 {
            let view = cx.registry().resolve(&query("a")).await?;
            let weights: Vec<_> = view.instances.iter().map(|i| i.offers[0].weight).collect();
            check(weights.len() == 2 && weights[0] == weights[1], "a view mixes two writes")?;
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(())
    };
    let (written, read) = tokio::join!(write, read);
    written?;
    read
}

async fn not_found_is_a_real_answer(cx: &Ctx) -> Result<(), Failure> {
    let kind = |answer: registry_api::Result<_>| answer.err().map(|e| e.kind());
    let not_found = Some(ErrorKind::NotFound);
    let never = cx.registry().resolve(&query("a")).await;
    check_eq(&kind(never), &not_found, "an unknown service")?;
    let nobody = cx.registry().resolve(&Query::instance(id("i"))).await;
    check_eq(&kind(nobody), &not_found, "an unknown instance")?;
    check(cx.all().await?.instances.is_empty(), "everything is not found")?;

    cx.registry().register(registration("o", RegistrationMode::Create, &["a"])).await?;
    let declared = cx.registry().resolve(&query("a")).await?;
    check(declared.instances.is_empty(), "a declared service without an instance")?;
    granted(cx.registry().connect(&[instance("i", "b", cx.lasting())]).await)?;
    let filter = Filter::default().with_zone("nowhere");
    let filtered = cx.registry().resolve(&query("b").with_filter(filter)).await?;
    check(filtered.instances.is_empty(), "a filter is no reason for not found")
}

async fn unreachable_is_unavailable_and_never_not_found(cx: &Ctx) -> Result<(), Failure> {
    let link = cx.link()?;
    link.cut();
    for query in [query("a"), Query::all(), Query::instance(id("i"))] {
        match cx.registry().resolve(&query).await {
            Err(error) => check_eq(&error.kind(), &ErrorKind::Unavailable, "a cut backend")?,
            Ok(view) => return Err(Failure::new(format!("a cut backend answered {view:?}"))),
        }
    }
    link.heal();
    check(cx.all().await.is_ok(), "the handle did not recover")
}

async fn filters_give_the_same_set(cx: &Ctx) -> Result<(), Failure> {
    let east = offer("a").with_zone("east").with_version("1");
    let west = Offer::new(service("a"), address("grpc://10.0.0.2:1")).with_zone("west");
    let tagged = offer("a").with_metadata(Metadata::new([("tier", "gold"), ("x", "y")])?);
    // Matches only through an offer for another service, which must not count.
    let decoy = offer("b").with_zone("east").with_metadata(Metadata::new([("tier", "gold")])?);
    let specs = [
        offering("east", [east], cx.lasting()),
        offering("west", [west], cx.lasting()),
        offering("tagged", [tagged, decoy.clone()], cx.lasting()).with_phase(Phase::Draining),
        offering("decoy", [offer("a"), decoy], cx.lasting()),
    ];
    for answer in cx.registry().connect(&specs).await? {
        answer?;
    }
    let any = Filter::default;
    let gold = Metadata::new([("tier", "gold")])?;
    for (filter, expected) in [
        (any(), &["decoy", "east", "tagged", "west"][..]),
        (any().with_zone("east"), &["east"]),
        (any().with_zone("eas"), &[]),
        (any().with_version("1"), &["east"]),
        (any().with_transport(Transport::Grpc), &["west"]),
        (any().with_transport(Transport::Amqp), &[]),
        (any().with_metadata(gold), &["tagged"]),
        (any().with_phase(Phase::Draining), &["tagged"]),
        (any().with_phase(Phase::Draining).with_phase(Phase::Ready).with_zone("west"), &["west"]),
    ] {
        let view = cx.registry().resolve(&query("a").with_filter(filter.clone())).await?;
        let seen: Vec<_> = view.instances.iter().map(|i| i.id.as_str()).collect();
        check_eq(&seen, &expected.to_vec(), &format!("{filter:?}"))?;
    }
    Ok(())
}

async fn routable_means_online_and_ready(cx: &Ctx) -> Result<(), Failure> {
    let spec = |name| instance(name, "a", cx.terms());
    let specs = [
        spec("draining").with_phase(Phase::Draining),
        spec("ready"),
        spec("silent"),
        spec("starting").with_phase(Phase::Starting),
    ];
    let terms = granted(cx.registry().connect(&specs).await)?.terms;
    cx.advance(terms.ttl() + cx.slack()).await;
    let beats = ["draining", "ready", "starting"].map(|name| beat(name, 1));
    cx.registry().heartbeat(&beats).await?;
    let view = cx.registry().resolve(&query("a").with_filter(Filter::routable())).await?;
    let seen: Vec<_> = view.instances.iter().map(|i| i.id.as_str()).collect();
    check_eq(&seen, &vec!["ready"], "what may be picked")?;
    let mut offline = Filter::default();
    offline.health = Some(Health::Offline);
    let view = cx.registry().resolve(&query("a").with_filter(offline)).await?;
    let seen: Vec<_> = view.instances.iter().map(|i| i.id.as_str()).collect();
    check_eq(&seen, &vec!["silent"], "who is offline")
}

async fn a_set_never_becomes_empty_by_an_error(cx: &Ctx) -> Result<(), Failure> {
    let link = cx.link()?.clone();
    granted(cx.registry().connect(&[instance("i", "a", cx.lasting())]).await)?;
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    cx.next(&mut watch).await?;
    for _ in 0..5 {
        link.cut();
        match cx.registry().resolve(&query("a")).await {
            Err(error) => check_eq(&error.kind(), &ErrorKind::Unavailable, "a cut backend")?,
            Ok(view) => check(!view.instances.is_empty(), "an error emptied the set")?,
        }
        link.heal();
        let view = cx.registry().resolve(&query("a")).await?;
        check_eq(&view.instances.len(), &1, "instances after the cut")?;
        cx.registry().heartbeat(&[beat("i", 1)]).await?;
        cx.advance(Duration::from_millis(500)).await;
        while let Some(item) = cx.ready(&mut watch).await? {
            if let registry_api::WatchItem::Reset(view) = item {
                check(!view.instances.is_empty(), "a reset emptied the set")?;
            }
        }
    }
    Ok(())
}

async fn reads_and_watches_never_go_back(cx: &Ctx) -> Result<(), Failure> {
    let mut watch = cx.registry().watch(&scope("a"), WatchFrom::Now).await?;
    let mut told = cx.next(&mut watch).await?.revision();
    let mut read = cx.all().await?.revision;
    for round in 0..10 {
        let spec = offering("i", [offer("a").with_weight(round)], cx.lasting());
        let lease = granted(cx.registry().connect(&[spec]).await)?;
        let view = cx.registry().resolve(&query("a")).await?;
        check(view.revision >= read, "a read went back")?;
        check(view.revision >= lease.revision, "a read does not show a write")?;
        check_eq(&view.instances[0].offers[0].weight.0, &round, "the newest data")?;
        read = view.revision;
        while told < lease.revision {
            let revision = cx.next(&mut watch).await?.revision();
            check(revision >= told, "a watch went back")?;
            told = revision;
        }
    }
    cx.registry().disconnect(&[life("i", 1)]).await?;
    check(cx.registry().resolve(&query("a")).await.is_err(), "an old view came back")
}
