//! A gateway to talk to, and a client that says exactly what it is told.
#![allow(dead_code)] // Each test binary uses its part.

pub(crate) mod process;

use std::net::SocketAddr;
use std::time::Duration;

use portolan_gateway::config::Flags;
use portolan_gateway::{Config, Gateway};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const MASTER: &str = "master-0123456789abcdef";

/// A gateway on free ports, with short lease terms.
pub(crate) async fn gateway() -> Gateway {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("a literal");
    let flags = Flags {
        http: Some(any),
        grpc: Some(any),
        admin: Some(any),
        ttl: Some(Duration::from_secs(1)),
        ttd: Some(Duration::from_secs(4)),
        master_api_key: Some(MASTER.to_owned()),
        backend: Some("memory:".to_owned()),
        ..Flags::default()
    };
    start(flags).await
}

/// A gateway with these flags.
pub(crate) async fn start(flags: Flags) -> Gateway {
    let config = Config::settle(flags).expect("the flags are right");
    Gateway::start(&config).await.expect("the gateway starts")
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The field a problem names.
    pub(crate) fn field(&self) -> String {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        self.json()["field"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends bytes as they are and reads until the other side closes.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("it accepts");
    // A refusal may come, and the connection go, before everything is sent.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
    let _ = read.await.expect("an answer in time");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// One request with these headers.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    raw(address, head.as_bytes()).await
}

/// A JSON request.
pub(crate) async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let json = [("Content-Type", "application/json")];
    send(gateway.http, "POST", path, &json, &body.to_string()).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, "GET", path, &[], "").await
}

pub(crate) const IDL: &str = "
    enum Color { RED = 1, BLUE = 2 }
    struct Thing {
        1: required i64 id, 2: string name, 3: list<i32> sizes, 4: map<string, double> rates,
        5: Color color = Color.BLUE, 6: binary raw, 7: optional Thing inner,
    }
    exception Broken { 1: string why }
    service Things {
        Thing echo(1: Thing thing) throws (1: Broken broken)
        string name(1: Thing thing)
        i32 add(1: i32 a, 2: i32 b)
        void nothing()
    }";

/// The body of a registration of one service.
pub(crate) fn registration(owner: &str, service: &str, idl: &str) -> Value {
    json!([{
        "OwnerName": "Test", "OwnerId": owner,
        "Services": [{"ServiceName": service, "IdlContent": idl, "Version": "1"}],
    }])
}

/// Registers `Things` and returns the API key.
pub(crate) async fn register(gateway: &Gateway, owner: &str) -> String {
    let answer = post(gateway, "/register", &registration(owner, "Things", IDL)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["API-Key"].as_str().expect("a key").to_owned()
}

pub(crate) fn connection(key: &str, service: &str, host: &str, port: &str) -> Value {
    json!({"ApiKey": key, "ServiceName": service, "ServerAddress": host, "ServerPort": port})
}
