//! Picking with load accounting, and the whole policy stack around a call.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use futures_util::FutureExt;
use portolan::call::{Call, CallError, Caller, Peer, Reply};
use portolan::*;
use tokio::runtime::Runtime;

use super::{Service, bare, p2c, peers, threads};
use crate::allocations;
use crate::rounds::Table;

/// A call that costs nothing.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Caller for Nothing {
    fn speaks(&self, _: &Address) -> bool {
        true
    }

    async fn call(&self, _: Peer<'_>, _: Call) -> Result<Reply, CallError> {
        Ok(Reply::default())
    }
}

fn channel(service: &Service) -> Channel {
    service.client.channel(&service.name, Arc::new(Nothing), ChannelOptions::default())
}

pub fn measure(runtime: &Runtime, table: &mut Table) {
    let mut sizes = Vec::new();
    for count in [3, 100, 10_000] {
        let service = runtime.block_on(Service::followed(count));
        let channel = channel(&service);
        pick(table, count, &channel);
        sizes.push((count, channel, service));
    }
    let (_, hundred, _) = &sizes[1];
    let (_, most, _) = &sizes[2];
    table.ratio(
        "pick with load, 10,000 instances / 100",
        f64::INFINITY,
        |operations| picks(hundred, operations),
        |operations| picks(most, operations),
    );
    against_peers(table, hundred);
    stack(table, hundred);
}

#[inline]
fn picks(channel: &Channel, operations: u64) {
    for _ in 0..operations {
        black_box(channel.pick(Ask::default()).map(|picked| picked.health));
    }
}

fn pick(table: &mut Table, count: usize, channel: &Channel) {
    let floor = bare(count);
    table.ratio(
        &format!("pick with load, {count} instances / arc-swap load + P2C + in-flight up and down"),
        f64::INFINITY,
        |operations| {
            for _ in 0..operations {
                let snapshot = floor.load();
                let picked = p2c(&snapshot);
                picked.in_flight.fetch_add(1, Relaxed);
                black_box(picked);
                picked.in_flight.fetch_sub(1, Relaxed);
            }
        },
        |operations| picks(channel, operations),
    );
    let goal = if count >= 100 { 60.0 } else { f64::INFINITY };
    let name = format!("pick with load, {count} instances: nanoseconds");
    table.nanoseconds(&name, goal, |operations| picks(channel, operations));
    let before = allocations::count();
    picks(channel, 10_000);
    let each = (allocations::count() - before) as f64 / 10_000.0;
    table.figure(&format!("pick with load, {count} instances: allocations each"), each, 0.0);
    let goal = if count >= 100 { 1.0 } else { f64::INFINITY };
    table.ratio(
        &format!("pick with load, {count} instances: two threads / one, per pick"),
        goal,
        |operations| threads(1, operations, |operations| picks(channel, operations)),
        |operations| threads(2, operations, |operations| picks(channel, operations)),
    );
}

fn against_peers(table: &mut Table, channel: &Channel) {
    let round_robin = peers::pingora_round_robin(100);
    let random = peers::pingora_random(100);
    let mut balance = peers::tower(100);
    table.rate(
        "pick with load, 100 instances / pingora RoundRobin select",
        4.0,
        |operations| (0..operations).for_each(|_| drop(black_box(round_robin.select(b"", 256)))),
        |operations| picks(channel, operations),
    );
    table.rate(
        "pick with load, 100 instances / pingora Random select",
        4.0,
        |operations| (0..operations).for_each(|_| drop(black_box(random.select(b"", 256)))),
        |operations| picks(channel, operations),
    );
    table.rate(
        "pick with load, 100 instances / tower p2c ready + call",
        4.0,
        |operations| peers::ready_and_call(&mut balance, operations),
        |operations| picks(channel, operations),
    );
}

/// What all policies together add to a call. None of it waits, so it is polled
/// once, on this thread.
fn stack(table: &mut Table, channel: &Channel) {
    let name = ServiceName::parse("s").expect("a literal");
    let call = || Call::new(name.clone(), "m", Default::default());
    table.nanoseconds(
        "a call through all policies, in process: nanoseconds",
        2000.0,
        |operations| {
            for _ in 0..operations {
                let answer = channel.call(call()).now_or_never();
                black_box(answer.expect("it does not wait").expect("it does not fail"));
            }
        },
    );
}
