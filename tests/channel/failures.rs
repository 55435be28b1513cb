//! What is repeated, who is left alone, and why.

use std::time::Duration;

use portolan::call::CallErrorKind;
use portolan::{Balance, Breaker, ChannelOptions, Clock, ErrorKind, Retry, SystemClock, Verdict};

use crate::servers::{Does, FAST, Servers, call};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn only_what_is_safe_is_repeated() {
    let servers = Servers::start(2).await;
    let channel = servers.channel(ChannelOptions::default()).await;
    let attempts = || servers.calls().values().sum::<u32>();
    servers.set_all(Does::Lose);
    assert!(channel.call(call()).await.is_err());
    assert_eq!(attempts(), 1, "it may have run");
    assert!(channel.call(call().with_idempotent(true)).await.is_err());
    assert_eq!(attempts(), 3, "it may be run again, but not for ever");
    servers.set_all(Does::Refuse);
    assert!(channel.call(call()).await.is_err());
    assert_eq!(attempts(), 3, "it was not run");
    servers.set_all(Does::Decline);
    let error = channel.call(call().with_idempotent(true)).await.unwrap_err();
    assert_eq!((error.kind(), attempts()), (CallErrorKind::Application, 1), "an answer");
    servers.set("0", Does::Refuse);
    servers.set("1", FAST);
    for _ in 0..5 {
        channel.call(call()).await.expect("the other one answers");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_stay_within_their_budget_when_everybody_fails() {
    for breaker in [None, Some(Breaker::default())] {
        let servers = Servers::start(10).await;
        servers.set_all(Does::Refuse);
        let channel = servers.channel(ChannelOptions::default().with_breaker(breaker)).await;
        let (calls, begun) = (20_000_u32, SystemClock.now());
        for _ in 0..calls {
            assert!(channel.call(call()).await.is_err());
            tokio::time::sleep(ms(1)).await;
        }
        let attempts: u32 = servers.calls().values().sum();
        // A fifth, and ten a second for those who call rarely.
        let seconds = SystemClock.now().since(begun).as_secs() as u32 + 1;
        let most = calls * 12 / 10 + 10 * (seconds + 1);
        assert!(attempts <= most, "{attempts} attempts for {calls} calls");
        let counters = channel.counters();
        assert_eq!(counters.attempts.get(), u64::from(attempts));
        assert_eq!(counters.calls.get(), u64::from(calls));
        if breaker.is_some() {
            assert!(attempts < calls / 20, "{attempts} attempts past an open breaker");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_overtaken_by_another_instance() {
    let servers = Servers::start(2).await;
    servers.declare(ms(20)).await;
    // By load the slow one would be avoided.
    let options = ChannelOptions::default().with_balance(Balance::Weighted);
    let channel = servers.channel(options).await;
    for _ in 0..1000 {
        channel.call(call()).await.unwrap();
    }
    servers.calls();
    servers.set("0", Does::Answer(ms(900)));
    let begun = SystemClock.now();
    for _ in 0..40 {
        channel.call(call()).await.unwrap();
    }
    let took = SystemClock.now().since(begun);
    assert!(took < ms(900), "forty calls took {took:?}");
    let (slow, hedges) = (servers.calls()["0"], channel.counters().hedges.get());
    assert!(slow > 0 && hedges == u64::from(slow), "{hedges} hedges of {slow} slow calls");
    // They are for the rare ones: when all are slow, they stay within 5 %.
    servers.set_all(Does::Answer(ms(60)));
    for _ in 0..1000 {
        channel.call(call()).await.unwrap();
    }
    let hedges = channel.counters().hedges.get();
    assert!(hedges <= 105, "{hedges} hedges of 2,040 calls");
}

#[tokio::test(start_paused = true)]
async fn one_that_keeps_failing_is_left_alone_and_comes_back() {
    let servers = Servers::start(10).await;
    // By load it would be avoided before it is ejected.
    let options = ChannelOptions::default().with_balance(Balance::Weighted);
    let channel = servers.channel(options.with_retry(Retry::never())).await;
    servers.set("3", Does::Lose);
    let failed = failures(&channel, 1000).await;
    assert!(failed <= 10, "{failed} of 1,000 calls failed because of one of ten");
    let verdict = channel.explain()[3].verdict;
    assert!(matches!(verdict, Verdict::Ejected(_)), "{verdict}");
    servers.set("3", FAST);
    tokio::time::sleep(Duration::from_secs(240)).await;
    servers.calls();
    failures(&channel, 1000).await;
    assert!(servers.calls()["3"] > 0, "it has been well for long");
}

#[tokio::test(start_paused = true)]
async fn callers_who_may_not_make_nobody_suspect() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Unauthenticated] {
        let servers = Servers::start(10).await;
        let channel = servers.channel(ChannelOptions::default()).await;
        servers.set_all(Does::Forbid(kind));
        assert_eq!(failures(&channel, 200).await, 200);
        assert_eq!(servers.calls().values().sum::<u32>(), 200, "{kind:?}: each is told once");
        servers.set_all(FAST);
        assert_eq!(failures(&channel, 20).await, 0, "{kind:?}: those who may are served");
        let picked = channel.explain().iter().filter(|one| one.verdict == Verdict::Picked).count();
        assert_eq!(picked, 10, "{kind:?}: {:?}", channel.explain());
    }
}

#[tokio::test(start_paused = true)]
async fn when_most_fail_everybody_is_still_asked() {
    let servers = Servers::start(10).await;
    let options = ChannelOptions::default().with_retry(Retry::never());
    let channel = servers.channel(options).await;
    for id in ["0", "1", "2", "3", "4", "5"] {
        servers.set(id, Does::Lose);
    }
    failures(&channel, 1000).await;
    servers.calls();
    failures(&channel, 1000).await;
    let asked = servers.calls().values().filter(|calls| **calls > 0).count();
    assert!(asked >= 9, "{asked} of ten are asked, when one in ten may be ejected");
    // The last one left is doubted rather than lost.
    let servers = Servers::start(1).await;
    let channel = servers.channel(ChannelOptions::default().with_breaker(None)).await;
    servers.set("0", Does::Lose);
    failures(&channel, 20).await;
    servers.set("0", FAST);
    assert_eq!(failures(&channel, 20).await, 0);
}

async fn failures(channel: &portolan::Channel, calls: u32) -> u32 {
    let mut failed = 0;
    for _ in 0..calls {
        failed += u32::from(channel.call(call()).await.is_err());
        tokio::time::sleep(ms(10)).await;
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn an_ejected_one_is_asked_before_the_same_is_asked_again() {
    let servers = Servers::start(2).await;
    let options = ChannelOptions::default().with_balance(Balance::Weighted);
    let channel = servers.channel(options.with_breaker(None)).await;
    servers.set("1", Does::Lose);
    failures(&channel, 40).await;
    assert!(matches!(channel.explain()[1].verdict, Verdict::Ejected(_)));
    servers.set("0", Does::Refuse);
    servers.set("1", FAST);
    // Few enough for the budget.
    assert_eq!(failures(&channel, 10).await, 0, "who is ejected may be well again");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_call_has_the_time_that_is_left() {
    let servers = Servers::start(2).await;
    servers.set_all(Does::Answer(ms(5)));
    let options = ChannelOptions::default().with_queue(portolan::Queue::new(1, 1));
    let channel = servers.channel(options).await;
    let timed = || channel.call(call().with_timeout(ms(100)));
    let (first, second) = tokio::join!(timed(), timed());
    assert_eq!(first.unwrap().header("left"), Some("100"));
    let left: u64 = second.unwrap().header("left").unwrap().parse().unwrap();
    assert!((90..=95).contains(&left), "{left} ms, after one waited for the other");
    servers.set_all(Does::Answer(ms(500)));
    let begun = SystemClock.now();
    let error = timed().await.unwrap_err();
    assert_eq!(error.kind(), CallErrorKind::Registry(ErrorKind::Timeout));
    assert_eq!(SystemClock.now().since(begun).as_millis(), 100);
}
