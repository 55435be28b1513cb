//! Foreign layouts, read and written.

use conformance_tests::World;
use conformance_tests::fixtures::{address, beat, instance, life, offer, offering, query, scope};
use etcd_client::{Client, PutOptions, Txn, TxnOp};
use portolan::{
    BeatOutcome, Cause, ErrorKind, Event, LeaseTerms, Namespace, Offer, Phase, RegistryExt,
    WatchFrom, WatchItem,
};

use super::{Outcome, Place, broken, check, next, soon, speaking};

/// As the guide prints it, with a domain of its own for each case.
fn guide(domain: &str, uuid: &str) -> (String, String) {
    let value = format!(
        r#"{{"UUID":"{uuid}","Domain":"{domain}","ServerUrl":"tcp4://169.254.128.35:4321/","CPU":8}}"#
    );
    (format!("hprose-service/{domain}/{uuid}"), value)
}

/// What a foreign writer does; returns its lease.
async fn write(client: &mut Client, key: &str, value: &str) -> Result<i64, Outcome> {
    let lease = client.lease_grant(10, None).await.map_err(broken)?.id();
    let options = PutOptions::new().with_lease(lease);
    client.put(key, value, Some(options)).await.map_err(broken)?;
    Ok(lease)
}

/// What a foreign reader finds.
async fn read(client: &mut Client, key: &str) -> Result<Option<String>, Outcome> {
    let found = client.get(key, None).await.map_err(broken)?;
    let value = found.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned());
    Ok(value)
}

/// A domain nobody else uses: foreign layouts have no prefix of ours.
fn domain() -> String {
    format!("tcp.{:x}.server", crate::etcd::random())
}

pub(super) async fn an_hprose_record_is_an_instance(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = speaking(&world, "hprose").await?;
    let mut client = world.client().await;
    let domain = domain();
    let mut watch = registry.watch(&scope(&domain), WatchFrom::Now).await?;
    next(&mut watch).await?;
    let (key, value) = guide(&domain, "fe091d2b");
    let lease = write(&mut client, &key, &value).await?;
    let WatchItem::Changes { events, .. } = next(&mut watch).await? else {
        return Err(Outcome::Broken("no change was told".into()));
    };
    check(matches!(&events[..], [Event::Upsert(i)] if i.id.as_str() == "fe091d2b"), "the upsert")?;
    let view = registry.resolve(&query(&domain)).await?;
    let offer = &view.instances[0].offers[0];
    check(offer.addresses[0].as_str() == "tcp4://169.254.128.35:4321/", "the address")?;
    check(offer.metadata.get("cpu") == Some("8"), "the cores")?;
    // Beating again writes the same once more, and is no news; nor is nonsense,
    // which leaves what is known.
    client.put(&*key, &*value, Some(PutOptions::new().with_lease(lease))).await.map_err(broken)?;
    for junk in ["", "null", "{\"UUID\":1}", &value.replace("fe091d2b", "another")] {
        let options = PutOptions::new().with_lease(lease);
        client.put(&*key, junk, Some(options)).await.map_err(broken)?;
    }
    // The form with a slash before it is another key in v3, and the same server.
    let (slashed, other) = guide(&domain, "second");
    write(&mut client, &format!("/{slashed}"), &other).await?;
    let WatchItem::Changes { events, .. } = next(&mut watch).await? else {
        return Err(Outcome::Broken("no change was told".into()));
    };
    check(
        matches!(&events[..], [Event::Upsert(i)] if i.id.as_str() == "second"),
        format_args!("{events:?}"),
    )?;
    // Somebody who opens later sees the same, but nothing of what he cannot read.
    client.put(&*key, &*value, Some(PutOptions::new().with_lease(lease))).await.map_err(broken)?;
    let later = speaking(&world, "hprose").await?.resolve(&query(&domain)).await?;
    check(later.instances.len() == 2, format_args!("{later:?}"))?;
    client.lease_revoke(lease).await.map_err(broken)?;
    let WatchItem::Changes { events, .. } = next(&mut watch).await? else {
        return Err(Outcome::Broken("no change was told".into()));
    };
    let gone = matches!(&events[..], [Event::Remove { cause: Cause::Unknown, .. }]);
    check(gone, format_args!("{events:?}"))
}

pub(super) async fn ours_is_an_hprose_record_while_it_is_online_and_ready(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = speaking(&world, "hprose").await?;
    let mut client = world.client().await;
    let domain = domain();
    let (key, value) = guide(&domain, "fe091d2b");
    let metadata = portolan::Metadata::new([("cpu", "8")])?;
    let offer =
        Offer::new(portolan::ServiceName::parse(&domain)?, address("tcp4://169.254.128.35:4321/"));
    let spec =
        || offering("fe091d2b", [offer.clone().with_metadata(metadata.clone())], world.terms());
    registry.connect_one(spec()).await?;
    check(read(&mut client, &key).await? == Some(value.clone()), "byte for byte")?;
    registry.connect_one(spec().with_phase(Phase::Draining)).await?;
    check(read(&mut client, &key).await?.is_none(), "foreign callers must not find it")?;
    let terms = registry.connect_one(spec()).await?.terms;
    check(read(&mut client, &key).await?.is_some(), "it is ready again")?;
    // Silent for its ttl, it is offline for us and gone for them.
    tokio::time::sleep(terms.ttl()).await;
    soon("it is gone", || async { Ok(read(&mut client.clone(), &key).await?.is_none()) }).await?;
    let outcome = registry.heartbeat_one(beat("fe091d2b", 1)).await?;
    check(outcome == BeatOutcome::Revived, format_args!("{outcome:?}"))?;
    check(read(&mut client, &key).await? == Some(value), "it is back")?;
    registry.disconnect(&[life("fe091d2b", 1)]).await?;
    check(read(&mut client, &key).await?.is_none(), "it left")
}

pub(super) async fn a_native_record_counts_before_a_foreign_one(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = speaking(&world, "kitex,hprose").await?;
    let mut client = world.client().await;
    let domain = domain();
    let (key, value) = guide(&domain, "same");
    write(&mut client, &key, &value).await?;
    soon("it is read", || async { Ok(registry.resolve(&query(&domain)).await.is_ok()) }).await?;
    let native = || offering("same", [offer("a")], LeaseTerms::default());
    registry.connect_one(native()).await?;
    let view = registry.resolve(&query("a")).await?;
    check(view.instances[0].offers.len() == 1, "the native record is not alone")?;
    let foreign = registry.resolve(&query(&domain)).await.err().map(|error| error.kind());
    check(foreign == Some(ErrorKind::NotFound), "the foreign record is there still")?;
    registry.disconnect(&[life("same", 1)]).await?;
    let view = registry.resolve(&query(&domain)).await?;
    check(view.instances.len() == 1, "the foreign record did not come back")
}

pub(super) async fn kitex_and_hertz_records_are_instances_and_ours_are_theirs(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let mut client = world.client().await;
    let service = domain();
    for layout in ["kitex", "hertz"] {
        let registry = speaking(&world, layout).await?;
        let key = |at: &str| format!("{layout}/registry-etcd/{service}/{at}");
        let value = |at: &str, tags: &str| {
            format!(r#"{{"network":"tcp","address":"{at}","weight":7,"tags":{tags}}}"#)
        };
        let lease =
            write(&mut client, &key("10.0.0.7:1"), &value("10.0.0.7:1", r#"{"zone":"a"}"#)).await?;
        soon("it is read", || async { Ok(registry.resolve(&query(&service)).await.is_ok()) })
            .await?;
        let view = registry.resolve(&query(&service)).await?;
        let found = &view.instances[0];
        let offer = &found.offers[0];
        check(found.id.as_str() == "10.0.0.7:1", "the id")?;
        check(offer.addresses[0].as_str() == "thrift://10.0.0.7:1", "the address")?;
        check((offer.weight.0, offer.metadata.get("zone")) == (7, Some("a")), "weight and tags")?;
        let ours = Offer::new(offer.service.clone(), address("thrift://10.0.0.8:2")).with_weight(7);
        let id = format!("{layout}-ours");
        registry.connect_one(offering(&id, [ours], world.terms())).await?;
        check(
            read(&mut client, &key("10.0.0.8:2")).await? == Some(value("10.0.0.8:2", "null")),
            "byte for byte",
        )?;
        let view = registry.resolve(&query(&service)).await?;
        check(view.instances.len() == 2, format_args!("our copy is another instance: {view:?}"))?;
        registry.disconnect(&[life(&id, 1)]).await?;
        check(read(&mut client, &key("10.0.0.8:2")).await?.is_none(), "it left")?;
        client.lease_revoke(lease).await.map_err(broken)?;
    }
    Ok(())
}

pub(super) async fn copies_of_other_namespaces_are_not_read(place: &Place) -> Result<(), Outcome> {
    let world = place.world().await?;
    let url = format!("{}?dialect=hprose", world.url());
    let ours = crate::etcd::open(&url, &Namespace::default()).await?;
    let theirs = crate::etcd::open(&url, &Namespace::parse("elsewhere")?).await?;
    let domain = domain();
    let offer = Offer::new(portolan::ServiceName::parse(&domain)?, address("tcp://10.0.0.1:1"));
    theirs.connect_one(offering("i", [offer], LeaseTerms::default())).await?;
    ours.connect_one(instance("j", "a", LeaseTerms::default())).await?;
    let seen = ours.resolve(&query(&domain)).await.err().map(|error| error.kind());
    check(seen == Some(ErrorKind::NotFound), "another namespace shows through")
}

pub(super) async fn fifty_records_of_one_transaction_are_one_item(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.world().await?;
    let registry = speaking(&world, "hprose").await?;
    let domain = domain();
    let mut watch = registry.watch(&scope(&domain), WatchFrom::Now).await?;
    next(&mut watch).await?;
    let puts = (0..50).map(|n| {
        let (key, value) = guide(&domain, &format!("u{n}"));
        TxnOp::put(key, value, None)
    });
    let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
    world.client().await.txn(txn).await.map_err(broken)?;
    let WatchItem::Changes { events, .. } = next(&mut watch).await? else {
        return Err(Outcome::Broken("no change was told".into()));
    };
    check(events.len() == 50, format_args!("{} events", events.len()))
}
