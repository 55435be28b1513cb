//! Twenty instances are restarted, one after the other, under load: no call fails.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use portolan::call::Host;
use portolan::thrift::{HostOptions, JsonHandler, ThriftHost, idl};
use portolan::{
    Client, InstanceId, InstanceSpec, LeaseTerms, Membership, Metadata, Offer, ServiceName,
    StopOptions,
};
use portolan_gateway::config::Flags;
use portolan_gateway::{Config, Gateway};
use serde_json::{Value, json};

use support::{IDL, MASTER, post, registration};

const INSTANCES: usize = 20;
const AT_A_TIME: usize = 4;
/// Calls per second, in all.
const RATE: u32 = 500;
const CALLERS: u32 = 10;

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn gateway() -> Gateway {
    let flags = Flags {
        backend: Some("memory:".to_owned()),
        http: Some(any()),
        grpc: Some(any()),
        admin: Some(any()),
        thrift: Some(any()),
        master_api_key: Some(MASTER.to_owned()),
        ..Flags::default()
    };
    Gateway::start(&Config::settle(flags).unwrap()).await.unwrap()
}

async fn start(client: &Client, n: usize, multiplexed: bool) -> Running {
    let add = |_: &str, arguments: Value| {
        Ok(json!(arguments["a"].as_i64().unwrap() + arguments["b"].as_i64().unwrap()))
    };
    let handler = Arc::new(JsonHandler::new(Arc::new(idl::parse(IDL).unwrap()), "Things", add));
    let service = ServiceName::parse("Things").unwrap();
    let host = ThriftHost::serve(service, any(), handler, HostOptions::default()).await.unwrap();
    // Peers that say nothing are spoken to over pooled connections.
    let plain = |offer: Offer| offer.with_metadata(Metadata::default());
    let offers = host.offers().into_iter();
    let offers: Vec<_> = if multiplexed { offers.collect() } else { offers.map(plain).collect() };
    let terms = LeaseTerms::new(Duration::from_secs(3), Duration::from_secs(9)).unwrap();
    let id = InstanceId::parse(&format!("i{n}")).unwrap();
    let member = client.join(InstanceSpec::new(id, offers).with_terms(terms));
    member.connected().await.unwrap();
    (n, member, host)
}

type Running = (usize, Membership, ThriftHost);

async fn restart_all(client: &Client, multiplexed: bool) -> Vec<Running> {
    let mut running = join_all((0..INSTANCES).map(|n| start(client, n, multiplexed))).await;
    for _ in 0..INSTANCES / AT_A_TIME {
        let wave: Vec<_> = running.drain(..AT_A_TIME).collect();
        let wave = wave.into_iter().map(|(n, member, host)| async move {
            member.stop(Some(&host), StopOptions::default()).await.unwrap();
            drop(host);
            start(client, n, multiplexed).await
        });
        running.extend(join_all(wave).await);
    }
    running
}

async fn a_rolling_restart(multiplexed: bool) {
    let gateway = gateway().await;
    let registered = post(&gateway, "/register", &registration("o", "Things", IDL)).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let url = format!("thrift://{MASTER}@{}", gateway.thrift.unwrap());
    let client = Client::open(&url).await.unwrap();
    let _first = start(&client, INSTANCES, multiplexed).await;
    let (over, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    let callers = (0..CALLERS).map(|_| async {
        while !over.load(Ordering::Relaxed) {
            let answer = post(&gateway, "/Things/add", &json!({"a": 1, "b": 2})).await;
            assert_eq!((answer.status, &*answer.body), (200, "3"), "{answer:?}");
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1) * CALLERS / RATE).await;
        }
    });
    let restarting = async {
        let running = restart_all(&client, multiplexed).await;
        over.store(true, Ordering::Relaxed);
        running
    };
    let (_, _running) = tokio::join!(join_all(callers), restarting);
    let calls = calls.into_inner();
    assert!(calls > 400, "hardly a call was made: {calls}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_over_shared_connections() {
    a_rolling_restart(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_over_pooled_connections() {
    a_rolling_restart(false).await;
}
