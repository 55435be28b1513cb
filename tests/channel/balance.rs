//! Who gets the next call.

use std::time::Duration;

use futures_util::future::join_all;
use portolan::{
    Ask, Balance, BoundedHash, ChannelOptions, Filter, Metadata, Phase, Verdict, ZoneFirst,
};

use crate::servers::{Does, Servers, by, call};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn with(balance: Balance) -> ChannelOptions {
    ChannelOptions::default().with_balance(balance)
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_gets_what_the_slow_cannot_take() {
    let servers = Servers::start(10).await;
    servers.set("3", Does::Answer(ms(100)));
    let channel = servers.channel(ChannelOptions::default()).await;
    for _ in 0..100 {
        join_all((0..20).map(|_| channel.call(call()))).await;
    }
    let slow = servers.calls()["3"];
    assert!(slow < 60, "{slow} of 2,000 calls went to the one that is a hundred times slower");
}

#[tokio::test(start_paused = true)]
async fn who_was_slow_once_is_tried_again() {
    let servers = Servers::start(2).await;
    servers.set("0", Does::Answer(ms(500)));
    let channel = servers.channel(ChannelOptions::default()).await;
    for _ in 0..20 {
        channel.call(call()).await.unwrap();
    }
    servers.set("0", Does::Answer(ms(1)));
    tokio::time::sleep(Duration::from_secs(200)).await;
    servers.calls();
    for _ in 0..200 {
        channel.call(call()).await.unwrap();
    }
    assert!(servers.calls()["0"] > 20, "it is never forgiven");
}

#[tokio::test(start_paused = true)]
async fn weights_count_with_and_without_load() {
    for balance in [Balance::Weighted, Balance::LeastLoaded] {
        let servers = Servers::start(0).await;
        servers.add("heavy", |offer| offer.with_weight(90)).await;
        servers.add("light", |offer| offer.with_weight(10)).await;
        let channel = servers.channel(with(balance.clone())).await;
        for _ in 0..100 {
            join_all((0..20).map(|_| channel.call(call()))).await;
        }
        let light = servers.calls()["light"];
        assert!((100..400).contains(&light), "{balance:?}: {light} of 2,000 for a tenth");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_key_goes_to_the_same_instance_and_overload_goes_on() {
    let servers = Servers::start(10).await;
    let channel = servers.channel(with(Balance::Hash(BoundedHash::by_header("User")))).await;
    let keyed = |key: &str| channel.call(call().with_header("user", key));
    let first = by(&keyed("vasco").await.unwrap());
    for _ in 0..50 {
        assert_eq!(by(&keyed("vasco").await.unwrap()), first);
    }
    let others = join_all((0..50).map(|n| channel.call(call().with_header("user", n.to_string()))));
    let others: Vec<_> = others.await.into_iter().map(|reply| by(&reply.unwrap())).collect();
    assert!(others.iter().any(|other| *other != first));
    servers.calls();
    // One key, many at a time: nobody has more than its bounded share.
    servers.set_all(Does::Answer(ms(100)));
    join_all((0..80).map(|_| keyed("vasco"))).await;
    let most = servers.calls().values().copied().max().unwrap();
    assert!(most <= 11, "{most} of 80 calls in flight on one of ten");
    let picked = channel.pick(Ask::default().with_key(b"vasco")).unwrap();
    assert_eq!(picked.id.as_str(), first, "a pick and a call agree");
}

#[tokio::test(start_paused = true)]
async fn a_sticky_channel_changes_only_when_it_must() {
    let servers = Servers::start(5).await;
    let channel = servers.channel(with(Balance::Sticky)).await;
    let primary = by(&channel.call(call()).await.unwrap());
    for _ in 0..50 {
        assert_eq!(by(&channel.call(call()).await.unwrap()), primary);
    }
    servers.add("another", |offer| offer).await;
    tokio::time::sleep(ms(50)).await;
    assert_eq!(by(&channel.call(call()).await.unwrap()), primary, "others do not matter");
    servers.remove(&primary).await;
    let next = by(&channel.call(call()).await.unwrap());
    assert_ne!(next, primary);
    servers.set(&next, Does::Refuse);
    let after = by(&channel.call(call()).await.unwrap());
    assert_ne!(after, next, "one that fails is left");
    assert_eq!(by(&channel.call(call()).await.unwrap()), after);
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_first_until_it_is_slow_or_gone() {
    let servers = Servers::start(0).await;
    for (id, zone) in [("n1", "near"), ("n2", "near"), ("f1", "far"), ("f2", "far")] {
        servers.add(id, |offer| offer.with_zone(zone)).await;
        servers.set(id, Does::Answer(ms(10)));
    }
    let options = ChannelOptions::default().with_zone(ZoneFirst::new("near"));
    let channel = servers.channel(options).await;
    for _ in 0..200 {
        channel.call(call()).await.unwrap();
    }
    let calls = servers.calls();
    assert_eq!(calls["f1"] + calls["f2"], 0, "all is well nearby");
    assert_eq!(channel.explain()[0].verdict, Verdict::Far);
    servers.set("n1", Does::Answer(ms(400)));
    servers.set("n2", Does::Answer(ms(400)));
    for _ in 0..20 {
        join_all((0..20).map(|_| channel.call(call()))).await;
    }
    let calls = servers.calls();
    assert!(calls["f1"] + calls["f2"] > 200, "far is forty times as fast: {calls:?}");
    servers.remove("n1").await;
    servers.remove("n2").await;
    assert!(channel.call(call()).await.is_ok(), "nobody is near any more");
}

#[tokio::test(start_paused = true)]
async fn filters_and_their_reasons() {
    let servers = Servers::start(0).await;
    let canary = Metadata::new([("track", "canary")]).unwrap();
    servers.add("new", |offer| offer.with_version("2").with_metadata(canary.clone())).await;
    servers.add("old", |offer| offer.with_version("1")).await;
    let filter = Filter::default().with_version("2").with_metadata(canary.clone());
    let channel = servers.channel(ChannelOptions::default().with_filter(filter)).await;
    for _ in 0..50 {
        assert_eq!(by(&channel.call(call()).await.unwrap()), "new");
    }
    let verdicts: Vec<_> = channel.explain().into_iter().map(|of| of.verdict).collect();
    assert_eq!(verdicts, [Verdict::Picked, Verdict::Filtered]);
    let none = Filter::default().with_phase(Phase::Ready).with_version("3");
    let channel = servers.channel(ChannelOptions::default().with_filter(none)).await;
    let error = channel.call(call()).await.unwrap_err();
    assert_eq!(error.kind(), portolan::call::CallErrorKind::NoInstance);
}
