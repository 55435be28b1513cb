//! The etcd v2 of hprose peers, beside etcd's own.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use conformance_tests::servers::{Recipe, Server, etcd};
use portolan_gateway::Gateway;
use portolan_gateway::config::Flags;
use serde_json::Value;
use support::{Answer, MASTER, get, post, registration, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEYS: &str = "/v2/keys/hprose-service";

fn value(domain: &str, uuid: &str) -> String {
    format!(
        r#"{{"UUID":"{uuid}","Domain":"{domain}","ServerUrl":"tcp4://10.0.0.1:4321/?a\u0026b","CPU":8}}"#
    )
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs);
    form.finish()
}

async fn put(at: SocketAddr, key: &str, pairs: &[(&str, &str)]) -> Answer {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    send(at, "PUT", &format!("{KEYS}{key}"), &headers, &form(pairs)).await
}

async fn hprose_gateway() -> Gateway {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let flags = Flags {
        http: Some(any),
        grpc: Some(any),
        admin: Some(any),
        hprose: Some(true),
        master_api_key: Some(MASTER.to_owned()),
        backend: Some("memory:".to_owned()),
        ..Flags::default()
    };
    support::start(flags).await
}

/// Debian's etcd with its old face, if it is installed.
fn their_etcd() -> Option<Server> {
    let recipe = Recipe { arguments: vec!["--enable-v2".to_owned()], ..Recipe::default() };
    match etcd(&recipe) {
        Ok(server) => Some(server),
        Err(absent) if std::env::var("PORTOLAN_REQUIRE").is_ok_and(|all| all.contains("all")) => {
            panic!("PORTOLAN_REQUIRE asks for etcd: {absent:?}")
        }
        Err(absent) => {
            println!("absent: {absent:?}");
            None
        }
    }
}

/// An answer without what may differ: when keys end, and from where indexes count.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    index: u64,
    body: Value,
    /// The order of the fields, which the parsed body has lost.
    fields: Vec<String>,
}

/// Indexes in the order in which they were first seen.
#[derive(Default)]
struct Indexes(BTreeMap<u64, u64>);

impl Indexes {
    fn of(&mut self, index: u64) -> u64 {
        if index == 0 {
            return 0;
        }
        let next = self.0.len() as u64 + 1;
        *self.0.entry(index).or_insert(next)
    }

    fn normal(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.remove("expiration");
                for (key, value) in object.iter_mut() {
                    match value {
                        // What is left of ten seconds is not always the same.
                        Value::Number(_) if key == "ttl" => *value = Value::from("some"),
                        Value::Number(number) if key.to_lowercase().ends_with("index") => {
                            *value = Value::from(self.of(number.as_u64().unwrap()));
                        }
                        value => self.normal(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.normal(value)),
            _ => {}
        }
    }

    fn seen(&mut self, answer: &Answer) -> Seen {
        let header = answer.head.lines().find_map(|line| {
            line.to_lowercase().strip_prefix("x-etcd-index: ").map(|index| index.parse().unwrap())
        });
        let text = body(answer);
        assert!(text.ends_with('\n'), "{answer:?}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let quoted = text.split('"').skip(1).step_by(2);
        let fields = quoted.filter(|text| !text.starts_with("20")).map(str::to_owned).collect();
        // The index of the answer comes last: what is in it is older.
        self.normal(&mut value);
        Seen { status: answer.status, index: self.of(header.unwrap()), body: value, fields }
    }
}

/// The body, also where it came in chunks.
fn body(answer: &Answer) -> String {
    if !answer.head.to_lowercase().contains("transfer-encoding: chunked") {
        return answer.body.clone();
    }
    let mut rest = answer.body.as_str();
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        whole.push_str(&after[..size]);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// What an hprose server and its clients do, and what they might.
async fn conversation(at: SocketAddr) -> Vec<(String, Seen)> {
    let mut indexes = Indexes::default();
    let mut seen = Vec::new();
    let mut note = |what: &str, answer: Answer| {
        let answer = indexes.seen(&answer);
        seen.push((what.to_owned(), answer));
    };
    let (one, two) = (value("d", "u1"), value("d", "u2"));
    note("set", put(at, "/d/u1", &[("value", &one), ("ttl", "10")]).await);
    note("nobody", get(at, &format!("{KEYS}/none?recursive=true&sorted=true")).await);
    note("set again", put(at, "/d/u1", &[("value", &one), ("ttl", "10")]).await);
    let exists = ("prevExist", "true");
    note("update", put(at, "/d/u1", &[("value", &one), ("ttl", "10"), exists]).await);
    let new = ("prevExist", "false");
    note("create it twice", put(at, "/d/u1", &[("value", &one), ("ttl", "10"), new]).await);
    note("update nobody", put(at, "/d/u9", &[("value", &one), ("ttl", "10"), exists]).await);
    note("create", put(at, "/d/u2", &[("value", &two), ("ttl", "10"), new]).await);
    note("no ttl", put(at, "/d/u2", &[("value", &two), ("ttl", "abc")]).await);
    note("negative", put(at, "/d/u2", &[("value", &two), ("ttl", "-1")]).await);
    note("a directory", put(at, "/d", &[("value", &one), ("ttl", "10")]).await);
    note("one", get(at, &format!("{KEYS}/d/u1")).await);
    note("quorum", get(at, &format!("{KEYS}/d/u1?quorum=true")).await);
    note("all", get(at, &format!("{KEYS}/d?recursive=true&sorted=true")).await);
    note("below the root", get(at, &format!("{KEYS}?recursive=true&sorted=true")).await);
    note("the root", get(at, &format!("{KEYS}/?sorted=true")).await);
    note("a bad flag", get(at, &format!("{KEYS}/d?recursive=maybe")).await);
    note("a bad index", get(at, &format!("{KEYS}/d?wait=true&waitIndex=x")).await);
    let waits =
        tokio::spawn(async move { get(at, &format!("{KEYS}/d?wait=true&recursive=true")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    note("stop", put(at, "/d/u1", &[("value", &one), ("ttl", "1"), exists]).await);
    let told = waits.await.unwrap();
    let next = latest(&told) + 1;
    note("a wait", told);
    let path = format!("{KEYS}/d?wait=true&recursive=true&waitIndex={next}");
    note("expired", get(at, &path).await);
    note("who is left", get(at, &format!("{KEYS}/d?recursive=true&sorted=true")).await);
    note("delete a directory", send(at, "DELETE", &format!("{KEYS}/d"), &[], "").await);
    note("delete", send(at, "DELETE", &format!("{KEYS}/d/u2"), &[], "").await);
    note("delete again", send(at, "DELETE", &format!("{KEYS}/d/u2"), &[], "").await);
    seen
}

/// The index at which an event happened.
fn latest(answer: &Answer) -> u64 {
    let value: Value = serde_json::from_str(&body(answer)).unwrap();
    value["node"]["modifiedIndex"].as_u64().unwrap()
}

#[tokio::test]
async fn answers_are_those_of_etcd() {
    let Some(theirs) = their_etcd() else { return };
    let gateway = hprose_gateway().await;
    let expected = conversation(theirs.address()).await;
    let ours = conversation(gateway.http).await;
    for ((what, expected), (_, ours)) in expected.iter().zip(&ours) {
        assert_eq!(ours, expected, "{what}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_written_is_an_instance_and_ours_are_listed() {
    let gateway = hprose_gateway().await;
    let at = gateway.http;
    assert_eq!(put(at, "/d/u1", &[("value", &value("d", "u1")), ("ttl", "10")]).await.status, 201);
    let shown = get(gateway.admin, "/api/v1/services/d").await.json();
    assert_eq!(shown["instances"][0]["id"], "u1");
    assert_eq!(shown["instances"][0]["addresses"][0], "tcp4://10.0.0.1:4321/?a&b");
    // Beating changes nothing.
    let revision = shown["revision"].clone();
    for _ in 0..3 {
        put(at, "/d/u1", &[("value", &value("d", "u1")), ("ttl", "10")]).await;
    }
    let shown = get(gateway.admin, "/api/v1/services/d").await.json();
    assert_eq!(shown["revision"], revision);
    // The same server in another domain is one instance with two offers.
    put(at, "/e/u1", &[("value", &value("e", "u1")), ("ttl", "10")]).await;
    for domain in ["d", "e"] {
        let shown = get(gateway.admin, &format!("/api/v1/services/{domain}")).await.json();
        assert_eq!(shown["instances"][0]["id"], "u1", "{domain}");
    }
    // The head of a wait comes at once: hprose clients give it a second.
    let mut stream = TcpStream::connect(at).await.unwrap();
    let ask = format!("GET {KEYS}/d?wait=true&recursive=true HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut head));
    read.await.expect("the head comes at once").unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // A gateway that stops ends it.
    tokio::time::timeout(Duration::from_secs(5), gateway.stop()).await.expect("it stops");
}

#[tokio::test]
async fn what_is_not_theirs_is_refused() {
    let gateway = hprose_gateway().await;
    let at = gateway.http;
    let code = |answer: &Answer| (answer.status, answer.json()["errorCode"].clone());
    for (key, text) in [
        ("/d/u1", "nonsense".to_owned()),
        ("/d/u1", String::new()),
        ("/d/u1", value("other", "u1")),
        ("/d/u1", value("d", "u1").replace("tcp4://10.0.0.1:4321/", "nowhere")),
        ("/d/u1", value("d", "u1").replace("tcp4:", "thrift:")),
        ("/d/u1", value("d", "u1").replace("10.0.0.1", "169.254.169.254")),
        ("/d/u1", "x".repeat(60_000)),
    ] {
        let answer = put(at, key, &[("value", &text), ("ttl", "10")]).await;
        assert_eq!(code(&answer), (400, Value::from(209)), "{answer:?}");
    }
    let answer = put(at, "/d/u1", &[("value", &value("d", "u1"))]).await;
    assert_eq!(code(&answer), (400, Value::from(209)), "a key needs a ttl: {answer:?}");
    let long = "x".repeat(70_000);
    assert_eq!(put(at, "/d/u1", &[("value", &long), ("ttl", "10")]).await.status, 413);
    // Services with keys, and instances that joined another way, are not theirs.
    let registered = post(&gateway, "/register", &registration("o", "Things", support::IDL)).await;
    assert_eq!(registered.status, 200);
    let mine = value("Things", "u1");
    let answer = put(at, "/Things/u1", &[("value", &mine), ("ttl", "10")]).await;
    assert_eq!(code(&answer), (401, Value::from(110)), "{answer:?}");
    let key = registered.json()["API-Key"].as_str().unwrap().to_owned();
    let connection = serde_json::json!({
        "ApiKey": key, "ServiceName": "Things", "ServerAddress": "127.0.0.1", "ServerPort": "9",
    });
    let joined = post(&gateway, "/connect", &connection).await.json();
    let id = joined["ServerID"].as_str().unwrap();
    let path = format!("/d/{id}");
    let answer = put(at, &path, &[("value", &value("d", id)), ("ttl", "10")]).await;
    assert_eq!(code(&answer), (401, Value::from(110)), "{answer:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn who_has_no_key_keeps_nobody_alive_who_has_one() {
    let gateway = hprose_gateway().await;
    let at = gateway.http;
    // It joined while nobody had declared the service.
    let (path, mine) = ("/Things/u1", value("Things", "u1"));
    assert_eq!(put(at, path, &[("value", &mine), ("ttl", "10")]).await.status, 201);
    let registered = post(&gateway, "/register", &registration("o", "Things", support::IDL)).await;
    assert_eq!(registered.status, 200);
    let answer = put(at, path, &[("value", &mine), ("ttl", "10")]).await;
    assert_eq!((answer.status, answer.json()["errorCode"].clone()), (401, Value::from(110)));
    gateway.stop().await;
}

#[tokio::test]
async fn the_face_is_there_only_where_it_was_asked_for() {
    let gateway = support::gateway().await;
    assert_eq!(get(gateway.http, &format!("{KEYS}/d")).await.status, 404);
    assert!(get(gateway.http, &format!("{KEYS}/d")).await.head.contains("problem+json"));
    gateway.stop().await;
}
