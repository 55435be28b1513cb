//! What outlives a gateway, and what several of them share.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use conformance_tests::Absent;
use conformance_tests::servers::{Recipe, postgres, rabbitmq};
use serde_json::{Value, json};
use support::process::{GatewayProcess, Process, portolan};
use support::{IDL, connection, registration, send};

/// A JSON request to a gateway process.
async fn post(gateway: &GatewayProcess, path: &str, body: &Value) -> support::Answer {
    let address = gateway.http.strip_prefix("http://").unwrap().parse().unwrap();
    let headers = [("Content-Type", "application/json")];
    send(address, "POST", path, &headers, &body.to_string()).await
}

#[tokio::test]
async fn keys_and_server_ids_outlive_a_gateway_that_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let first = GatewayProcess::start_in(directory.path(), &[]);
    let answer = post(&first, "/register", &registration("o", "Things", IDL)).await;
    let key = answer.json()["API-Key"].as_str().unwrap().to_owned();
    let connect = connection(&key, "Things", "127.0.0.1", "9");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = post(&first, "/connect", &connect).await;
        ids.push(answer.json()["ServerID"].as_str().unwrap().to_owned());
    }
    assert!(directory.path().join("portolan.db").exists(), "the default is a file");
    first.process.kill();

    let second = GatewayProcess::start_in(directory.path(), &[]);
    for id in &ids {
        let beat = json!({"ApiKey": key, "ServerID": id});
        let answer = post(&second, "/health", &beat).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let again = post(&second, "/register", &registration("o", "Things", IDL)).await;
    assert_eq!((again.status, again.body.contains("already exists")), (400, true), "{again:?}");
    assert_eq!(post(&second, "/connect", &connect).await.status, 200, "the key still opens");
    let wrong = connection("reg_owner_x_y", "Things", "127.0.0.1", "9");
    assert_eq!(post(&second, "/connect", &wrong).await.status, 401);
    assert_eq!(second.process.terminate(), Some(0));
}

/// Lines of `portolan watch`, until one tells of this id.
async fn told_of(watch: Process, id: String) -> (Process, Instant) {
    let wait = move || {
        watch.line_with(|line| line.contains(&id));
        (watch, now())
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

#[allow(clippy::disallowed_methods)] // A test measures what it waits for.
fn now() -> Instant {
    Instant::now()
}

/// A server, unless it is not here; that is a failure where it was promised.
fn started<S>(scheme: &str, start: impl FnOnce() -> Result<S, Absent>) -> Option<S> {
    let server = match portolan::schemes().contains(&scheme) {
        true => start(),
        false => Err(Absent(format!("{scheme} is not compiled in; --features full does it"))),
    };
    let Err(Absent(reason)) = server else { return server.ok() };
    let required = std::env::var("PORTOLAN_REQUIRE").unwrap_or_default();
    assert!(!required.contains("all"), "absent, and PORTOLAN_REQUIRE asks for it: {reason}");
    println!("absent: {reason}");
    None
}

#[tokio::test]
async fn two_gateways_on_one_postgres_see_each_others_instances() {
    let Some(server) = started("postgres", || postgres(&Recipe::default())) else { return };
    let url = format!("postgres://postgres@{}/postgres", server.address());
    agree([0, 1].map(|_| GatewayProcess::start(&["--backend", &url]))).await;
}

#[tokio::test]
async fn three_gateways_on_one_rabbitmq_agree() {
    let Some(server) = started("amqp", || rabbitmq(&Recipe::default())) else { return };
    let url = format!("amqp://guest:guest@{}/", server.address());
    agree([0, 1, 2].map(|_| GatewayProcess::start(&["--backend", &url]))).await;
}

/// What is done at the first one is seen at the last within half a second, and
/// looked after by any.
async fn agree<const N: usize>(gateways: [GatewayProcess; N]) {
    let last = &gateways[N - 1];
    let answer = post(&gateways[0], "/register", &registration("o", "Things", IDL)).await;
    let key = answer.json()["API-Key"].as_str().unwrap().to_owned();
    let watch = ["watch", "Things", "--gateway", &last.admin, "--output", "json"];
    let mut watch = Process::start(&mut portolan(&watch));
    watch = tokio::task::spawn_blocking(move || {
        watch.line_with(|line| line.contains("Things"));
        watch
    })
    .await
    .unwrap();
    for round in 0..10 {
        let connect = connection(&key, "Things", "127.0.0.1", "9");
        // The key was made at another one.
        let answer = post(&gateways[round % (N - 1)], "/connect", &connect).await;
        let id = answer.json()["ServerID"].as_str().unwrap().to_owned();
        let acknowledged = now();
        let (again, seen) = told_of(watch, id.clone()).await;
        watch = again;
        let late = seen.duration_since(acknowledged);
        assert!(late < Duration::from_millis(500), "{late:?} after the acknowledgement");
        let beat = json!({"ApiKey": key, "ServerID": id});
        for gateway in &gateways {
            assert_eq!(post(gateway, "/health", &beat).await.status, 200);
        }
    }
}
