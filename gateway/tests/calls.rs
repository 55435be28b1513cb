//! The data path: HTTP JSON in, Thrift to a real host, JSON out.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use portolan::call::{Call, CallError, Handler, Host, Reply};
use portolan::http::HttpHost;
use portolan::thrift::{HostOptions, JsonError, JsonHandler, ThriftHost, idl};
use portolan::{Client, Service, ServiceName};
use portolan_gateway::Gateway;
use serde_json::{Value, json};
use support::{Answer, connection, gateway, get, post, register, registration, send};

/// Hosts `Things` and joins it.
async fn things(gateway: &Gateway, key: &str) -> ThriftHost {
    let descriptor = Arc::new(idl::parse(support::IDL).unwrap());
    let handler = JsonHandler::new(descriptor, "Things", |method, argument: Value| match method {
        "echo" if argument["name"] == "broken" => Err(JsonError {
            exception: "Broken".to_owned(),
            value: json!({"why": "it was asked to be"}),
        }),
        "name" => Ok(argument["name"].clone()),
        "add" => Ok(json!(argument["a"].as_i64().unwrap() + argument["b"].as_i64().unwrap())),
        "nothing" => Ok(Value::Null),
        _ => Ok(argument),
    });
    let service = ServiceName::parse("Things").unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let host = ThriftHost::serve(service, any, Arc::new(handler), HostOptions::default()).await;
    let host = host.unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let answer = post(gateway, "/connect", &connection(key, "Things", "localhost", &port)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    host
}

async fn call(gateway: &Gateway, method: &str, argument: &Value) -> Answer {
    post(gateway, &format!("/Things/{method}"), argument).await
}

#[tokio::test]
async fn every_type_goes_there_and_back() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    let _host = things(&gateway, &key).await;
    let thing = json!({
        "id": 9_007_199_254_740_993_i64, "name": "ü", "sizes": [1, -2], "rates": {"a": 1.5},
        "color": 1, "raw": "AP8=",
        "inner": {"id": 1, "name": "", "sizes": [], "rates": {}, "color": 2, "raw": ""},
    });
    let answer = call(&gateway, "echo", &thing).await;
    assert!(answer.head.contains("application/json"), "{answer:?}");
    assert_eq!(answer.json(), thing);

    let coerced = call(&gateway, "echo", &json!({"id": "30", "unknown": 1})).await.json();
    assert_eq!((&coerced["id"], &coerced["color"]), (&json!(30), &json!(2)));
    let answer = call(&gateway, "name", &json!({"id": 1, "name": "bare"})).await;
    assert_eq!(answer.body, "bare", "a string comes bare, as the original gives it");
    assert_eq!(call(&gateway, "add", &json!({"a": 1, "b": "2"})).await.json(), json!(3));
    assert_eq!(get(gateway.http, "/Things/add?a=4&b=5").await.json(), json!(9));
    assert_eq!(send(gateway.http, "POST", "/Things/nothing", &[], "").await.body, "null");

    let thrown = call(&gateway, "echo", &json!({"id": 1, "name": "broken"})).await;
    assert_eq!(thrown.status, 500);
    let expected = json!({"exception": "Broken", "value": {"why": "it was asked to be"}});
    assert_eq!(thrown.json(), expected);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_does_not_fit() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    for path in ["/Nope/echo", "/Things/nope", "/a%2Fb/c"] {
        let answer = send(gateway.http, "POST", path, &[], "{}").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.body, "The service/method does not exist.");
    }
    assert_eq!(call(&gateway, "echo", &json!({"id": 1})).await.status, 503, "no instance");
    let host = things(&gateway, &key).await;
    for (argument, field) in [
        (json!({"id": "x"}), "id"),
        (json!({"id": 1, "sizes": [1, 2_147_483_648_i64]}), "sizes[1]"),
        (json!({"id": 1, "inner": {"id": 1, "raw": "%"}}), "inner.raw"),
        (json!([1]), ""),
    ] {
        let answer = call(&gateway, "echo", &argument).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, field), "{answer:?}");
    }
    for body in ["{", "{\"id\":1,\"id\":2}", &format!("{}1{}", "[".repeat(40), "]".repeat(40))] {
        assert_eq!(send(gateway.http, "POST", "/Things/echo", &[], body).await.status, 400);
    }
    let empty = send(gateway.http, "POST", "/Things/echo", &[], " ").await;
    assert_eq!((empty.status, empty.body.as_str()), (400, "Request body is empty"));

    host.close().await;
    assert_eq!(call(&gateway, "echo", &json!({"id": 1})).await.status, 503, "it is gone");
    gateway.stop().await;
}

#[tokio::test]
async fn paths_belong_to_their_service() {
    let gateway = gateway().await;
    let idl = |name: &str, method: &str| format!("service {name} {{ string {method}() }}");
    let mut hosts = Vec::new();
    for (owner, name, method) in [("o", "First", "one"), ("p", "Second", "two")] {
        let mut body = registration(owner, name, &idl(name, method));
        body[0]["Services"][0]["Paths"] = json!([{"MethodPath": "go", "ExposedMethod": method}]);
        let key = post(&gateway, "/register", &body).await.json()["API-Key"].clone();
        let descriptor = Arc::new(idl::parse(&idl(name, method)).unwrap());
        let handler = JsonHandler::new(descriptor, name, |method, _| Ok(json!(method)));
        let service = ServiceName::parse(name).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let host = ThriftHost::serve(service, any, Arc::new(handler), HostOptions::default()).await;
        let host = host.unwrap();
        let port = host.local_addr().unwrap().port().to_string();
        hosts.push(host);
        let connect = connection(key.as_str().unwrap(), name, "127.0.0.1", &port);
        assert_eq!(post(&gateway, "/connect", &connect).await.status, 200);
    }
    assert_eq!(get(gateway.http, "/First/go").await.body, "one");
    assert_eq!(get(gateway.http, "/Second/go").await.body, "two");
    assert_eq!(get(gateway.http, "/First/one").await.status, 404, "only declared paths are public");
    gateway.stop().await;
}

/// Answers every call with what came beside it.
#[derive(Debug)]
struct Besides;

const BESIDES: &str = "include \"base.thrift\"
    service Besides extends base.Root { base.Big big(1: base.Big big) }";
const BASE: &str = "struct Big { 1: i64 n } service Root { string besides() }";

#[async_trait::async_trait]
impl Handler for Besides {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        if call.method == "big" {
            // The argument has the id 1, the result 0.
            let mut result = call.payload.to_vec();
            result[1..3].copy_from_slice(&[0, 0]);
            return Ok(Reply::new(result.into()));
        }
        let headers: Vec<_> = call.headers.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let told = format!("{} {}", call.time_left().as_secs_f64().round(), headers.join(" "));
        let mut result = vec![11, 0, 0];
        result.extend((told.len() as u32).to_be_bytes());
        result.extend(told.as_bytes());
        result.push(0);
        Ok(Reply::new(result.into()))
    }
}

#[tokio::test]
async fn headers_and_deadlines_travel_and_includes_are_understood() {
    let gateway = gateway().await;
    let mut body = registration("o", "Besides", BESIDES);
    body[0]["Services"][0]["IdlIncludes"] = json!({"base.thrift": BASE});
    body[0]["Services"][0]["Endpoints"] = json!([{"Name": "besides", "MeanMs": 10, "P95Ms": 1500}]);
    let key = post(&gateway, "/register", &body).await.json()["API-Key"].clone();
    let service = ServiceName::parse("Besides").unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let host = ThriftHost::serve(service, any, Arc::new(Besides), HostOptions::default()).await;
    let host = host.unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let mut connect = connection(key.as_str().unwrap(), "Besides", "127.0.0.1", &port);
    connect["Metadata"] = json!({"thrift.framing": "ttheader", "thrift.multiplex": "true"});
    assert_eq!(post(&gateway, "/connect", &connect).await.status, 200);

    let sent = [
        ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Rpc-Persist-User-Id", "7"),
        ("X-Tt-Logid", "l1"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("Authorization", "Bearer secret"),
        ("Cookie", "c"),
    ];
    let told = send(gateway.http, "GET", "/Besides/besides", &sent, "").await.body;
    assert!(told.starts_with("6 "), "four times the declared p95: {told}");
    assert!(told.contains("traceparent=00-4bf9") && told.contains("rpc-persist-user-id=7"));
    assert!(told.contains("x-tt-logid=l1"), "{told}");
    for kept in ["secret", "cookie", "1.2.3.4"] {
        assert!(!told.contains(kept), "{told}");
    }
    let wait = [("Prefer", "wait=9")];
    let told = send(gateway.http, "GET", "/Besides/besides", &wait, "").await.body;
    assert!(told.starts_with("9 "), "{told}");
    let style = [("Accept", "application/json; int64=string")];
    let body = "{\"n\": \"9007199254740993\"}";
    let big = send(gateway.http, "POST", "/Besides/big", &style, body).await;
    assert_eq!(big.body, "{\"n\":\"9007199254740993\"}");
    gateway.stop().await;
}

#[tokio::test]
async fn the_admin_listener_reads_and_shows_no_key() {
    let gateway = gateway().await;
    let key = register(&gateway, "o").await;
    let _host = things(&gateway, &key).await;
    assert_eq!(get(gateway.admin, "/healthz").await.status, 200);
    assert_eq!(get(gateway.admin, "/readyz").await.status, 200);
    let services = get(gateway.admin, "/api/v1/services").await.json();
    let names: Vec<_> = services["services"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2, "the service and the gateway itself: {services}");
    let metrics = get(gateway.admin, "/metrics").await;
    assert!(metrics.body.contains("portolan_http_requests_total"), "{metrics:?}");
    assert_eq!(get(gateway.admin, "/api/v1/services/nope").await.status, 404);
    let resolved = get(gateway.admin, "/api/v1/services/Things").await;
    let everything = format!("{services}{resolved:?}{metrics:?}");
    assert!(!everything.contains(&key) && !everything.contains("keys"));
    gateway.stop().await;
}

/// Gives back what it is sent, and says what that was.
#[derive(Debug)]
struct Mirror;

#[async_trait::async_trait]
impl Handler for Mirror {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        if call.method == "refuse" {
            return Err(CallError::application("Sad", call.payload));
        }
        let mut reply = Reply::new(call.payload);
        reply.content_type = call.content_type;
        Ok(reply)
    }
}

#[tokio::test]
async fn a_service_over_http_gets_the_json_as_it_is() {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let any = Some(free);
    let gateway = support::start(portolan_gateway::config::Flags {
        http: any,
        grpc: any,
        admin: any,
        backend: Some("memory:".to_owned()),
        ..Default::default()
    })
    .await;
    let service = ServiceName::parse("Mirror").unwrap();
    let host = HttpHost::serve(service, free, Arc::new(Mirror), Default::default());
    let client = Client::open(&format!("grpc://{}", gateway.grpc)).await.unwrap();
    let mirror = Service::new("Mirror").unwrap().with_no_auth().with_host(host.await.unwrap());
    let serving = mirror.join(&client).unwrap();
    serving.ready();
    serving.connected().await;
    let body = json!({"a": [1, "ü"]});
    let mut answer = post(&gateway, "/Mirror/any", &body).await;
    for _ in 0..100 {
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        answer = post(&gateway, "/Mirror/any", &body).await;
    }
    assert_eq!(answer.json(), body, "{answer:?}");
    assert!(answer.head.contains("application/json"), "{answer:?}");
    let refused = post(&gateway, "/Mirror/refuse", &body).await;
    assert_eq!((refused.status, &refused.json()["code"]), (500, &json!("Sad")), "{refused:?}");
    serving.stop().await.unwrap();
    gateway.stop().await;
}
