//! Caller and host against each other, and the host against hostile peers.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_thrift::json::{Answer, Json, Style};
use portolan_thrift::{
    CallerOptions, HostOptions, JsonError, JsonHandler, ThriftCaller, ThriftHost, idl, json, manner,
};
use registry_api::call::{Call, CallErrorKind, Caller, Host, Peer};
use registry_api::{Address, AddressPolicy, ErrorKind, Metadata, ServiceName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const IDL: &str = "
    exception NotFound { 1: string what }
    service Echo {
        string say(1: string what) throws (1: NotFound missing),
        void sleep(1: i32 ms),
    }";

fn descriptor() -> Arc<idl::Descriptor> {
    Arc::new(idl::parse(IDL).unwrap())
}

async fn host() -> ThriftHost {
    let echo = |method: &str, arguments: Value| match (method, arguments["what"].as_str()) {
        ("say", Some("")) => {
            Err(JsonError { exception: "NotFound".into(), value: json!({"what": "words"}) })
        }
        ("say", Some(what)) => Ok(json!(what)),
        _ => Ok(Value::Null),
    };
    let handler = Arc::new(JsonHandler::new(descriptor(), "Echo", echo));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = ServiceName::parse("Echo").unwrap();
    ThriftHost::serve(service, any, handler, HostOptions::default()).await.unwrap()
}

fn call(method: &str, arguments: &Value) -> Call {
    let idl = descriptor();
    let function = idl.service("Echo").and_then(|s| s.function(method)).unwrap();
    let payload = json::write_arguments(&idl, function, Json::Value(arguments)).unwrap();
    let service = ServiceName::parse("Echo").unwrap();
    Call::new(service, method, payload.into()).with_timeout(Duration::from_secs(5))
}

fn caller() -> ThriftCaller {
    ThriftCaller::new(AddressPolicy::new().allow_loopback(true), CallerOptions::default())
}

fn address(host: &ThriftHost) -> Address {
    host.offers()[0].addresses[0].clone()
}

fn answer(method: &str, payload: &[u8]) -> (Answer, Value) {
    let idl = descriptor();
    let function = idl.service("Echo").and_then(|s| s.function(method)).unwrap();
    let mut out = Vec::new();
    let answer = json::read_result(&idl, function, payload, Style::default(), &mut out);
    (answer.unwrap(), serde_json::from_slice(&out).unwrap())
}

#[tokio::test]
async fn results_exceptions_and_unknown_methods_are_told_apart() {
    let host = host().await;
    let address = address(&host);
    let address = Peer::at(&address);
    let reply = caller().call(address, call("say", &json!({"what": "hi"}))).await.unwrap();
    assert_eq!(answer("say", &reply.payload), (Answer::Result, json!("hi")));

    let reply = caller().call(address, call("say", &json!({"what": ""}))).await.unwrap();
    let thrown = (Answer::Exception("NotFound".to_owned()), json!({"what": "words"}));
    assert_eq!(answer("say", &reply.payload), thrown);

    let mut unknown = call("say", &json!({"what": "hi"}));
    unknown.method = "shout".into();
    let error = caller().call(address, unknown).await.unwrap_err();
    assert_eq!(error.kind(), CallErrorKind::UnknownMethod);
}

#[tokio::test]
async fn every_manner_of_speaking_is_understood() {
    let host = host().await;
    let address = address(&host);
    let caller = caller();
    for framing in ["framed", "buffered", "ttheader"] {
        for multiplex in ["true", "false"] {
            let facts = [(manner::FRAMING, framing), (manner::MULTIPLEX, multiplex)];
            let facts = Metadata::new(facts).unwrap();
            let mut peer = Peer::at(&address);
            peer.metadata = Some(&facts);
            for _ in 0..3 {
                let reply = caller.call(peer, call("say", &json!({"what": "hi"}))).await.unwrap();
                assert_eq!(answer("say", &reply.payload), (Answer::Result, json!("hi")));
            }
        }
    }
}

#[tokio::test]
async fn addresses_are_judged_when_they_are_dialled() {
    let host = host().await;
    let strict = ThriftCaller::new(AddressPolicy::new(), CallerOptions::default());
    let refused = strict.call(Peer::at(&address(&host)), call("say", &json!({}))).await;
    let kind = refused.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::PermissionDenied.into());

    host.close().await;
    let gone = caller().call(Peer::at(&address(&host)), call("say", &json!({}))).await;
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::Unavailable.into());
    let other = Address::parse("grpc://127.0.0.1:1").unwrap();
    let unsupported = caller().call(Peer::at(&other), call("say", &json!({}))).await;
    assert_eq!(unsupported.unwrap_err().kind(), ErrorKind::Unsupported.into());
}

#[tokio::test]
async fn hostile_bytes_end_their_own_connection_only() {
    let host = host().await;
    let hostile: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 1],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0x80, 0x01, 0, 9, 0, 0, 0, 0],
        &[0x80, 0x01, 0, 1, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in hostile {
        let mut stream = TcpStream::connect(host.local_addr().unwrap()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        // Closed or reset, and nothing said.
        let _ = read.await.expect("the host keeps a broken connection open");
        assert!(rest.is_empty());
    }
    let reply = caller().call(Peer::at(&address(&host)), call("say", &json!({"what": "hi"}))).await;
    assert!(reply.is_ok(), "others are not affected");
}
