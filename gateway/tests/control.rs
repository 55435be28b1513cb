//! The control plane as an unmodified client sees it: statuses and texts of
//! PyromancerBoom/Orbital23 (f4ce42b7), and its guide's promises where it is broken.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{MASTER, connection, gateway, get, post, register, registration, send};

#[tokio::test]
async fn the_guide_step_by_step() {
    let gateway = gateway().await;
    assert_eq!(get(gateway.http, "/ping").await.json(), json!({"message": "pong"}));

    let answer = post(&gateway, "/register", &registration("o", "Things", support::IDL)).await;
    let registered = answer.json();
    assert_eq!(registered["Message"], "Registered successfully. You're good to GO :D");
    let key = registered["API-Key"].as_str().unwrap().to_owned();
    assert_eq!(key.len(), 36, "a UUID, as the guide prints it");

    // The guide's own sample address, leading zero and all.
    let answer =
        post(&gateway, "/connect", &connection(&key, "Things", "127.0.0.01", "9999")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let connected = answer.json();
    assert_eq!(connected["Message"], "Successfully connected server to gateway.");
    assert_eq!(connected["Status"], "ok");
    let id = connected["ServerID"].as_str().unwrap().to_owned();

    let beat = json!({"ApiKey": key, "ServerID": id});
    let expected = json!({"Status": "ok", "Message": "Successfully updated server health."});
    assert_eq!(post(&gateway, "/health", &beat).await.json(), expected);

    let seen = get(gateway.admin, "/api/v1/services/Things").await.json();
    assert_eq!(seen["instances"][0]["addresses"], json!(["thrift://127.0.0.1:9999"]));

    tokio::time::sleep(Duration::from_millis(1600)).await;
    let seen = get(gateway.admin, "/api/v1/services/Things").await.json();
    assert_eq!(seen["instances"][0]["health"], "offline");
    assert_eq!(post(&gateway, "/health", &beat).await.status, 200, "one beat revives");

    tokio::time::sleep(Duration::from_millis(4500)).await;
    let delisted = post(&gateway, "/health", &beat).await;
    assert_eq!(delisted.status, 500);
    assert_eq!(delisted.body, "Unable to process health update request.");
    gateway.stop().await;
}

#[tokio::test]
async fn registrations_are_refused_with_the_guides_texts() {
    let gateway = gateway().await;
    register(&gateway, "o").await;
    let post_raw = async |body: &str| send(gateway.http, "POST", "/register", &[], body).await;
    for body in ["", "{}", "[1]", "not json", "[{]", "\"x\""] {
        let answer = post_raw(body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.body, "Failed to parse request body. Invalid Format", "{body}");
    }
    let answer = post(&gateway, "/register", &registration("o", "Things", support::IDL)).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "Owner ID already exists"));
    let services = json!([{"OwnerName": "n", "OwnerId": "p", "Services": 5}]);
    let answer = post(&gateway, "/register", &services).await;
    assert!(answer.body.starts_with("Failed to parse Services field"), "{answer:?}");

    for (body, field) in [
        (json!([]), "body"),
        (json!([{"OwnerName": "n"}]), "OwnerId"),
        (json!([{"OwnerId": "a\u{0}", "Services": []}]), "OwnerId"),
        (json!([{"OwnerId": "p"}]), "Services"),
        (json!([{"OwnerId": "p", "Services": []}]), "Services"),
        (registration("p", "a/b", support::IDL), "Services[0].ServiceName"),
        (registration("p", "Elsewhere", support::IDL), "Services[0].IdlContent"),
        (registration("p", "Things", "struct {"), "Services[0].IdlContent"),
    ] {
        let answer = post(&gateway, "/register", &body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.field(), field);
    }
    let answer = post(&gateway, "/register", &registration("p", "Things", support::IDL)).await;
    assert_eq!((answer.status, answer.field().as_str()), (400, "Services"), "taken by another");
    gateway.stop().await;
}

#[tokio::test]
async fn a_broken_idl_is_refused_with_its_place_and_hurts_nobody() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    let deep =
        format!("service Things {{ void f(1: {}i32{} a) }}", "list<".repeat(40), ">".repeat(40));
    let long = format!("service Things {{}} // {}", "x".repeat(300 * 1024));
    for (idl, detail) in [
        ("service Things {\n  i32 f(1: i32)\n}", "line 2:"),
        ("service Things { void f(1: Nope a) }", "Things.f.a"),
        ("struct A { 1: i32 a, 1: i32 b } service Things {}", "A.b"),
        (&deep, "nests deeper"),
        (&long, "bytes"),
    ] {
        let answer = post(&gateway, "/register", &registration("p", "Things", idl)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(detail), "{answer:?}");
    }
    let answer = post(&gateway, "/connect", &connection(&key, "Things", "10.0.0.1", "1")).await;
    assert_eq!(answer.status, 200, "what was registered before goes on: {answer:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn updates_need_the_owners_key_and_replace() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    let two = json!([{"OwnerId": "o", "Services": [
        {"ServiceName": "Things", "IdlContent": support::IDL},
        {"ServiceName": "Second", "IdlContent": "service Second { void f() }"},
    ]}]);
    let update = async |owner: &str, key: &str, body: &str| {
        let path = format!("/update?ownerid={owner}");
        send(gateway.http, "PUT", &path, &[("apikey", key)], body).await
    };
    let body = two.to_string();
    for (owner, key, text) in [
        ("nobody", key.as_str(), "Invalid owner ID"),
        ("", key.as_str(), "Invalid owner ID"),
        ("o", "wrong", "Invalid API key"),
        ("o", "", "Invalid API key"),
    ] {
        let answer = update(owner, key, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, text));
    }
    assert_eq!(update("o", &key, "").await.body, "Request body is missing...");
    assert!(update("o", &key, "nope").await.body.starts_with("Failed to parse request body"));
    let big = format!("[\"{}\"]", "x".repeat(1 << 20));
    assert_eq!(update("o", &key, &big).await.field(), "body");
    let answer = update("o", &key, &body).await;
    assert_eq!(answer.json()["Message"], "Updated successfully. You're good to GO :D");
    assert_eq!(get(gateway.admin, "/api/v1/services/Second").await.status, 200);

    // The master key may, and does not become the owner's.
    let one = registration("o", "Things", support::IDL).to_string();
    assert_eq!(update("o", MASTER, &one).await.status, 200);
    assert_eq!(get(gateway.admin, "/api/v1/services/Second").await.status, 404);
    assert_eq!(update("o", &key, &one).await.status, 200, "the owner's key still opens");
    gateway.stop().await;
}

#[tokio::test]
async fn connecting_needs_a_key_for_the_service_and_a_fit_address() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    for (key, service) in [("wrong", "Things"), ("", "Things"), (key.as_str(), "Other")] {
        let answer = post(&gateway, "/connect", &connection(key, service, "10.0.0.1", "1")).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, "Unauthorized."), "{service}");
    }
    for (host, port) in [
        ("169.254.169.254", "80"),
        ("0.0.0.0", "80"),
        ("0x7f.1", "80"),
        ("", "80"),
        ("10.0.0.1", "0"),
        ("10.0.0.1", "65536"),
        ("10.0.0.1", "-1"),
        ("10.0.0.1", "x"),
        ("127.0.0.1", &gateway.http.port().to_string()),
    ] {
        let answer = post(&gateway, "/connect", &connection(&key, "Things", host, port)).await;
        assert_eq!(answer.status, 400, "{host}:{port} {answer:?}");
        let refused = answer.json();
        assert_eq!(refused["Message"], "Server address is invalid.");
        assert_eq!((&refused["Status"], &refused["ServerID"]), (&json!("failed"), &json!("")));
    }
    for host in ["localhost", "10.0.0.1", "svc.internal", "::1", "2001:db8::1"] {
        let answer = post(&gateway, "/connect", &connection(&key, "Things", host, "80")).await;
        assert_eq!(answer.status, 200, "{host} {answer:?}");
    }
    let mastered = post(&gateway, "/connect", &connection(MASTER, "Things", "10.0.0.1", "1")).await;
    assert_eq!(mastered.status, 200);
    let body = connection(&key, "Things", "10.0.0.1", "1").to_string();
    for content_type in ["text/plain", "application/xml"] {
        let headers = [("Content-Type", content_type)];
        let answer = send(gateway.http, "POST", "/connect", &headers, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (417, "Invalid Request."));
    }
    let numbers =
        json!({"ApiKey": key, "ServiceName": "Things", "ServerAddress": "h", "ServerPort": 1});
    for body in [numbers, json!([]), json!({}), json!(null)] {
        let answer = post(&gateway, "/connect", &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (417, "Invalid Request."), "{body}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn health_checks_the_key_and_answers_at_once() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    let other =
        post(&gateway, "/register", &registration("p", "S", "service S { void f() }")).await;
    let other = other.json()["API-Key"].as_str().unwrap().to_owned();
    let answer = post(&gateway, "/connect", &connection(&key, "Things", "10.0.0.1", "1")).await;
    let id = answer.json()["ServerID"].as_str().unwrap().to_owned();
    let health = async |key: &str, id: &str| {
        post(&gateway, "/health", &json!({"ApiKey": key, "ServerID": id})).await
    };
    assert_eq!(health("wrong", &id).await.status, 401);
    assert_eq!(health(&other, &id).await.status, 401, "the key of another owner");
    for unknown in ["", "never", "a\u{0}b"] {
        let answer = health(&key, unknown).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.body, "Unable to process health update request.");
    }
    assert_eq!(health(&key, &id).await.status, 200);
    assert_eq!(health(MASTER, &id).await.status, 200);

    let leave = json!({"ApiKey": other, "ServerID": id});
    assert_eq!(post(&gateway, "/disconnect", &leave).await.status, 401);
    let leave = json!({"ApiKey": key, "ServerID": id});
    assert_eq!(post(&gateway, "/disconnect", &leave).await.json()["Status"], "ok");
    assert_eq!(health(&key, &id).await.status, 500, "it has left");
    gateway.stop().await;
}

#[tokio::test]
async fn hostile_requests_are_refused_and_hurt_nobody() {
    let gateway = gateway().await;
    let big = format!("[\"{}\"]", "x".repeat(1 << 20));
    let refused = send(gateway.http, "POST", "/register", &[], &big).await;
    assert_eq!((refused.status, refused.field().as_str()), (413, "body"));
    let json = [("Content-Type", "application/json")];
    let medium = format!("{{\"x\":\"{}\"}}", "x".repeat(100 * 1024));
    assert_eq!(send(gateway.http, "POST", "/health", &json, &medium).await.status, 413);
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(send(gateway.http, "POST", "/register", &[], &deep).await.status, 400);

    assert_eq!(get(gateway.http, "/no/such/route").await.status, 404);
    assert_eq!(get(gateway.http, "/register").await.status, 405);
    for request in [
        "GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "GARBAGE\r\n\r\n",
    ] {
        let answer = support::raw(gateway.http, request.as_bytes()).await;
        assert!([0, 400].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(get(gateway.http, "/ping").await.status, 200, "others are not affected");
    gateway.stop().await;
}
