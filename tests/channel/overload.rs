//! More than the servers can take, and after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use portolan::call::CallErrorKind;
use portolan::{Channel, ChannelOptions, ErrorKind, Queue, Timeouts};

use crate::servers::{Does, Servers, call};

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_queue_is_refused_at_once() {
    let servers = Servers::start(3).await;
    servers.set_all(Does::Answer(Duration::from_millis(100)));
    let options = ChannelOptions::default().with_queue(Queue::new(10, 5));
    let channel = servers.channel(options).await;
    let answers = join_all((0..40).map(|_| channel.call(call()))).await;
    let overloaded = CallErrorKind::Registry(ErrorKind::Overloaded);
    let shed = answers.iter().filter(|a| a.as_ref().is_err_and(|e| e.kind() == overloaded));
    assert_eq!(shed.count(), 25, "ten at a time, five wait");
    assert!(channel.call(call()).await.is_ok(), "and then all is well");
    assert_eq!(channel.counters().shed.get(), 25);
}

const SERVERS: usize = 10;
const EACH: Duration = Duration::from_millis(20);
/// What they can do in a second.
const CAPACITY: u32 = 500;

/// Goodput, the answers in time, of each second at this load.
async fn drive(channel: &Channel, load: f64, seconds: usize) -> Vec<u32> {
    let mut good = Vec::new();
    let rate = f64::from(CAPACITY) * load;
    for _ in 0..seconds {
        let answered = Arc::new(AtomicU32::new(0));
        for _ in 0..rate as u32 {
            let (channel, answered) = (channel.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                if channel.call(call().with_idempotent(true)).await.is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
            tokio::time::sleep(Duration::from_secs(1).div_f64(rate)).await;
        }
        good.push(answered.load(Ordering::Relaxed));
    }
    good
}

/// Servers that work off everything in order, for callers who have long given
/// up too: left alone, such a system never recovers.
#[tokio::test(start_paused = true)]
async fn an_overload_ends_when_the_load_does() {
    for round in 0..3 {
        let servers = Servers::start(SERVERS).await;
        servers.set_all(Does::Work(EACH));
        let timeouts = Timeouts::default().with_usual(Duration::from_secs(1));
        let channel = servers.channel(ChannelOptions::default().with_timeouts(timeouts)).await;
        let before = drive(&channel, 0.7, 10).await;
        let usual = before.iter().skip(2).sum::<u32>() / 8;
        assert!(usual > CAPACITY * 6 / 10, "round {round}: {before:?} at seven tenths");
        drive(&channel, 2.0, 30).await;
        let after = drive(&channel, 0.7, 20).await;
        let recovered = after[10..].iter().sum::<u32>() / 10;
        assert!(
            recovered * 100 >= usual * 95,
            "round {round}: {usual} a second before, and after the overload {after:?}"
        );
    }
}
