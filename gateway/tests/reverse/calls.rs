//! Calls over a stream, from clients and from other services.

use std::time::Duration;

use prost::Message;
use serde_json::json;

use super::connect::open_gateway;
use super::peer::{Answered, Asked, Peer, Pieces, Said, call};
use super::support::{gateway, post};

#[tokio::test]
async fn a_call_arrives_with_its_headers_its_time_and_its_bytes() {
    let gateway = open_gateway().await;
    let (mut peer, _) = Peer::connect(gateway.grpc, "", &["post.PostService"], "").await.unwrap();
    let address = gateway.grpc;
    let calling = tokio::spawn(async move {
        let headers = [("x-one", "1"), ("grpc-timeout", "1500m"), ("x-forwarded-for", "9.9.9.9")];
        call(address, "/post.PostService/GetPost", &headers, b"\x0a\x01a").await
    });
    let asked = peer.asked().await;
    assert_eq!(asked.method_path, "/post.PostService/GetPost");
    assert_eq!(asked.payload, b"\x0a\x01a");
    assert_eq!(asked.headers.get("x-one").map(String::as_str), Some("1"));
    assert!(!asked.headers.contains_key("x-forwarded-for"), "{:?}", asked.headers);
    assert_eq!(asked.timeout_seconds, 2);
    let response = Some(Answered {
        request_id: asked.request_id,
        status_code: 0,
        headers: [("x-two".to_owned(), "2".to_owned())].into(),
        payload: b"\x0a\x01b".to_vec(),
        ..Answered::default()
    });
    peer.say(&Said { response, ..Said::default() });
    let (payload, headers) = calling.await.unwrap().unwrap();
    assert_eq!((&payload[..], &headers["x-two"]), (&b"\x0a\x01b"[..], &"2".parse().unwrap()));
    gateway.stop().await;
}

#[tokio::test]
async fn statuses_of_all_conventions_reach_the_caller() {
    let gateway = open_gateway().await;
    let (mut peer, _) = Peer::connect(gateway.grpc, "", &["s"], "").await.unwrap();
    for (answered, told) in [(5, 5), (404, 5), (400, 3), (403, 7), (7, 7), (16, 16), (409, 10)] {
        let address = gateway.grpc;
        let calling = tokio::spawn(async move { call(address, "/s/M", &[], b"").await });
        let asked = peer.asked().await;
        let response = Some(Answered {
            request_id: asked.request_id,
            status_code: answered,
            error_message: "no such post: ü".to_owned(),
            ..Answered::default()
        });
        peer.say(&Said { response, ..Said::default() });
        let refused = calling.await.unwrap().unwrap_err();
        assert_eq!(refused, (told, "no such post: ü".to_owned()), "{answered}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn pieces_of_an_answer_are_one_answer() {
    let gateway = open_gateway().await;
    let (mut peer, _) = Peer::connect(gateway.grpc, "", &["pieces"], "").await.unwrap();
    let address = gateway.grpc;
    let calling = tokio::spawn(async move { call(address, "/pieces/M", &[], b"").await });
    let asked = peer.asked().await;
    for (index, last, payload) in [(1, false, "b"), (0, false, "a"), (2, true, "c")] {
        let pieces = Pieces { is_streamed: true, chunk_index: index, is_final_chunk: last };
        let response = Some(Answered {
            request_id: asked.request_id.clone(),
            status_code: 200,
            payload: payload.as_bytes().to_vec(),
            pieces: Some(pieces),
            ..Answered::default()
        });
        peer.say(&Said { response, ..Said::default() });
    }
    assert_eq!(calling.await.unwrap().unwrap().0, "abc");
    gateway.stop().await;
}

#[tokio::test]
async fn names_match_fully_first_then_by_last_part_then_by_prefix() {
    let gateway = open_gateway().await;
    let mut serving = Vec::new();
    for name in ["a.b.C", "C", "a", "amway"] {
        let (mut peer, _) = Peer::connect(gateway.grpc, "", &[name], "").await.unwrap();
        serving.push(tokio::spawn(async move {
            loop {
                let asked = peer.asked().await;
                peer.answer(&asked, 200, format!("{name} {}", asked.method_path).as_bytes());
            }
        }));
    }
    for (path, by) in [
        ("/a.b.C/M", "a.b.C"),
        ("/x.C/M", "C"),
        ("/a.other/M", "a"),
        ("/amway.Recommendation/Get", "amway"),
    ] {
        let (answer, _) = call(gateway.grpc, path, &[], b"").await.unwrap();
        assert_eq!(answer, format!("{by} {path}"));
    }
    let unknown = call(gateway.grpc, "/nobody.Here/M", &[], b"").await.unwrap_err();
    assert_eq!(unknown, (5, "Service 'nobody.Here' not found in registry".to_owned()));
    serving.iter().for_each(tokio::task::JoinHandle::abort);
    gateway.stop().await;
}

#[tokio::test]
async fn services_call_each_other_up_their_streams() {
    let gateway = open_gateway().await;
    let (provider, _) = Peer::connect(gateway.grpc, "", &["provider"], "").await.unwrap();
    let serving = provider.echo();
    let (mut consumer, _) = Peer::connect(gateway.grpc, "", &[], "").await.unwrap();
    let (mut other, _) = Peer::connect(gateway.grpc, "", &[], "").await.unwrap();
    // The same id from two askers, as happens.
    for (asker, payload) in [(&consumer, "one"), (&other, "two")] {
        let request = Some(Asked {
            request_id: "req-1".to_owned(),
            method_path: "/provider.X/Say".to_owned(),
            payload: payload.as_bytes().to_vec(),
            ..Asked::default()
        });
        asker.say(&Said { request, ..Said::default() });
    }
    for (asker, payload) in [(&mut consumer, "one"), (&mut other, "two")] {
        let response = asker.hear().await.unwrap().response.unwrap();
        assert_eq!((response.request_id.as_str(), response.status_code), ("req-1", 200));
        assert_eq!(response.payload, payload.as_bytes());
    }
    for (path, status) in [("/nobody/Say", 404), ("nonsense", 400)] {
        let request = Some(Asked {
            request_id: "r".to_owned(),
            method_path: path.to_owned(),
            ..Asked::default()
        });
        consumer.say(&Said { request, ..Said::default() });
        let response = consumer.hear().await.unwrap().response.unwrap();
        assert_eq!(response.status_code, status, "{response:?}");
        assert!(!response.error_message.is_empty());
    }
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn load_is_spread_over_all_connections() {
    let gateway = open_gateway().await;
    let mut serving = Vec::new();
    for _ in 0..3 {
        let (peer, id) = Peer::connect(gateway.grpc, "", &["spread"], "").await.unwrap();
        serving.push(tokio::spawn(async move {
            let mut peer = peer;
            loop {
                let asked = peer.asked().await;
                peer.answer(&asked, 200, id.as_bytes());
            }
        }));
    }
    let mut seen = std::collections::HashMap::new();
    for _ in 0..10 {
        // At the same time: one after the other, the quickest may get them all.
        let address = gateway.grpc;
        let calls = (0..15).map(|_| call(address, "/spread/M", &[], b""));
        for answer in futures_util::future::join_all(calls).await {
            *seen.entry(answer.unwrap().0).or_insert(0) += 1;
        }
    }
    // By how quickly they answer, so not evenly.
    assert_eq!(seen.len(), 3, "{seen:?}");
    serving.iter().for_each(tokio::task::JoinHandle::abort);
    gateway.stop().await;
}

#[derive(Clone, PartialEq, Message)]
struct Registering {
    #[prost(string, tag = "1")]
    api_key: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, repeated, tag = "3")]
    services: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Registered {
    #[prost(bool, tag = "1")]
    success: bool,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn services_that_can_be_dialled_are_called_at_their_address() {
    let inner = open_gateway().await; // Plays a service that can be dialled.
    let (peer, _) = Peer::connect(inner.grpc, "", &["dialled.Echo"], "").await.unwrap();
    let serving = peer.echo();
    let outer = gateway().await;
    let body =
        json!([{"OwnerName": "o", "OwnerId": "o", "Services": [{"ServiceName": "dialled.Echo"}]}]);
    let key = post(&outer, "/register", &body).await.json()["API-Key"].as_str().unwrap().to_owned();
    let register = |key: &str, address: String| {
        let registering = Registering {
            api_key: key.to_owned(),
            address,
            services: vec!["dialled.Echo".to_owned()],
        };
        let address = outer.grpc;
        async move {
            let path = "/registry.RegistryService/Register";
            let answer = call(address, path, &[], &registering.encode_to_vec()).await?;
            Ok::<_, (i32, String)>(Registered::decode(answer.0).unwrap())
        }
    };
    let here = format!("http://{}", inner.grpc);
    assert_eq!(register("wrong", here.clone()).await.unwrap_err().0, 16);
    assert_eq!(register(&key, "http://169.254.169.254:80".to_owned()).await.unwrap_err().0, 3);
    let named = register(&key, "amway-bot".to_owned()).await.unwrap();
    assert!(named.success && named.message.contains("not registered"), "{named:?}");
    assert!(register(&key, here).await.unwrap().success);
    let headers = [("grpc-timeout", "5S")];
    let (answer, _) =
        call(outer.grpc, "/dialled.Echo/Say", &headers, b"through two").await.unwrap();
    assert_eq!(answer, "through two");
    serving.abort();
    outer.stop().await;
    tokio::time::timeout(Duration::from_secs(15), inner.stop()).await.unwrap();
}
