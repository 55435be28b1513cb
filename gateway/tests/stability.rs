//! What a gateway believes when its registry cannot be believed, or reached.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portolan_gateway::config::Flags;
use portolan_gateway::{Config, Gateway};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use support::{MASTER, connection, gateway, get, post, register};

/// Resolves a service at the admin listener until the answer fits.
async fn resolved_as(gateway: &Gateway, fits: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let shown = get(gateway.admin, "/api/v1/services/Things").await;
            if shown.status == 200 && fits(&shown.json()) {
                return shown.json();
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(20), look).await.expect("it is shown in time")
}

#[tokio::test]
async fn mass_expiry_is_doubted_shown_and_probed() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    let mut servers = Vec::new();
    for _ in 0..4 {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let body = connection(&key, "Things", "127.0.0.1", &port);
        assert_eq!(post(&gateway, "/connect", &body).await.status, 200);
        servers.push(server);
    }
    let shown = resolved_as(&gateway, |shown| shown["held"] == 0).await;
    assert!(shown["age_ms"].as_u64().unwrap() < 10_000, "{shown}");
    // Somebody calls, so the service is followed from now on.
    let wait = [("Prefer", "wait=1")];
    let late = support::send(gateway.http, "POST", "/Things/nothing", &wait, "").await;
    assert_eq!(late.status, 504, "they listen and say nothing: {late:?}");

    // Nobody beats, and everybody listens.
    let shown = resolved_as(&gateway, |shown| shown["held"] == 4).await;
    assert!(shown["instances"].as_array().unwrap().iter().all(|i| i["held"] == true), "{shown}");
    let metrics = get(gateway.admin, "/metrics").await.body;
    assert!(metrics.contains("portolan_held_instances 4"), "{metrics}");
    for name in
        ["portolan_view_age_seconds", "portolan_followed_services", "portolan_call_attempts"]
    {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    assert_eq!(shown["instances"][0]["called"], "picked", "{shown}");
    let ready = get(gateway.admin, "/readyz").await;
    assert!(ready.status == 200 && ready.body.contains("held 4"), "{ready:?}");

    // One really dies.
    servers.pop();
    resolved_as(&gateway, |shown| shown["held"] == 3).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_registry_that_is_away_does_not_take_its_gateways_with_it() {
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let flags = || Flags {
        backend: Some("memory:".to_owned()),
        http: Some(any),
        grpc: Some(any),
        admin: Some(any),
        master_api_key: Some(MASTER.to_owned()),
        ..Flags::default()
    };
    let start = |flags| async { Gateway::start(&Config::settle(flags).unwrap()).await.unwrap() };
    let first = start(Flags { thrift: Some(any), ..flags() }).await;
    let backend = format!("thrift://{MASTER}@{}", first.thrift.unwrap());
    let second = start(Flags { backend: Some(backend), ..flags() }).await;
    let cold = get(second.admin, "/readyz").await;
    assert_eq!((cold.status, cold.body.lines().next()), (200, Some("ready")));
    register(&first, "o").await;
    let sum = json!({"a": 1, "b": 2});
    let called = || post(&second, "/Things/add", &sum);
    assert_eq!(called().await.status, 503, "it is declared, and nobody serves it");
    drop(first);
    let ready = get(second.admin, "/readyz").await;
    assert!(ready.status == 200 && ready.body.contains("does not answer"), "{ready:?}");
    assert_eq!(called().await.status, 503, "what was known still is");
    // The registry cannot be told that the gateway stops. It stops.
    timeout(Duration::from_secs(20), second.stop()).await.expect("in time");
}
