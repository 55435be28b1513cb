//! Connecting, beating, leaving: the guide, step by step.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_gateway::Gateway;
use portolan_gateway::config::Flags;
use serde_json::{Value, json};

use super::peer::{DISCONNECTED, Peer, Register, Said, Status, call, framed};
use super::support::{self, MASTER, gateway, get, post};

/// A gateway on loopback that was told nothing about who may connect.
pub(crate) async fn open_gateway() -> Gateway {
    patient_for(Duration::from_secs(120)).await
}

/// One with gRPC at this address.
pub(crate) async fn gateway_at(grpc: SocketAddr) -> Gateway {
    start(grpc, Duration::from_secs(120)).await
}

/// One that waits so long for heartbeats.
async fn patient_for(heartbeat: Duration) -> Gateway {
    start("127.0.0.1:0".parse().unwrap(), heartbeat).await
}

async fn start(grpc: SocketAddr, heartbeat: Duration) -> Gateway {
    let any = Some("127.0.0.1:0".parse().unwrap());
    support::start(Flags {
        http: any,
        grpc: Some(grpc),
        admin: any,
        backend: Some("memory:".to_owned()),
        grpc_heartbeat_timeout: Some(heartbeat),
        ..Flags::default()
    })
    .await
}

async fn instances(gateway: &Gateway, service: &str) -> Vec<Value> {
    let answer = get(gateway.admin, &format!("/api/v1/services/{service}")).await;
    match answer.status {
        200 => answer.json()["instances"].as_array().unwrap().clone(),
        404 => Vec::new(),
        _ => panic!("{answer:?}"),
    }
}

async fn until_gone(gateway: &Gateway, service: &str) {
    for _ in 0..500 {
        if instances(gateway, service).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{service} is still there");
}

#[tokio::test]
async fn a_connection_is_an_instance_from_connected_to_gone() {
    let gateway = open_gateway().await;
    let (peer, id) = Peer::connect(gateway.grpc, "", &["a.B", "c"], "").await.unwrap();
    for service in ["a.B", "c"] {
        let there = instances(&gateway, service).await;
        assert_eq!(there[0]["id"], json!(id));
        let address = there[0]["addresses"][0].as_str().unwrap().to_owned();
        assert!(address.starts_with("reverse:"), "{address}");
    }
    drop(peer);
    until_gone(&gateway, "a.B").await;
    assert!(instances(&gateway, "c").await.is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn keys_say_which_names_may_be_served() {
    let gateway = gateway().await;
    let body = json!([{"OwnerName": "o", "OwnerId": "o", "Services": [{"ServiceName": "owned"}]}]);
    let registered = post(&gateway, "/register", &body).await;
    let key = registered.json()["API-Key"].as_str().unwrap().to_owned();
    let refused = |key: &'static str, services: &'static [&'static str]| {
        let address = gateway.grpc;
        async move { Peer::connect(address, key, services, "").await.err().map(|end| end.0) }
    };
    assert_eq!(refused("", &["owned"]).await, Some(16));
    assert_eq!(refused("wrong-wrong-wrong", &["owned"]).await, Some(16));
    assert_eq!(refused("wrong-wrong-wrong", &[]).await, Some(16));
    let other = Peer::connect(gateway.grpc, &key, &["owned", "another's"], "").await;
    assert_eq!(other.err().map(|end| end.0), Some(7));
    assert!(Peer::connect(gateway.grpc, &key, &["owned"], "").await.is_ok());
    assert!(Peer::connect(gateway.grpc, &key, &[], "").await.is_ok(), "one that only calls");
    assert!(Peer::connect(gateway.grpc, MASTER, &["owned", "anything"], "").await.is_ok());
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_open_names_that_nobody_owns() {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let gateway = support::start(Flags {
        http: any,
        grpc: any,
        admin: any,
        backend: Some("memory:".to_owned()),
        grpc_tokens: Some(vec!["token-one".to_owned(), "token-two".to_owned()]),
        ..Flags::default()
    })
    .await;
    let body = json!([{"OwnerName": "o", "OwnerId": "o", "Services": [{"ServiceName": "owned"}]}]);
    assert_eq!(post(&gateway, "/register", &body).await.status, 200);
    assert!(Peer::connect(gateway.grpc, "token-two", &["free"], "").await.is_ok());
    let owned = Peer::connect(gateway.grpc, "token-two", &["free", "owned"], "").await;
    assert_eq!(owned.err().map(|end| end.0), Some(7));
    for wrong in ["", "token-three"] {
        let refused = Peer::connect(gateway.grpc, wrong, &["free"], "").await;
        assert_eq!(refused.err(), Some((16, "Invalid token".to_owned())));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_newest_of_an_id_wins_and_the_old_one_is_told() {
    let gateway = open_gateway().await;
    let (mut old, id) = Peer::connect(gateway.grpc, "", &["twice"], "mine").await.unwrap();
    assert_eq!(id, "mine");
    let (new, id) = Peer::connect(gateway.grpc, "", &["twice"], "mine").await.unwrap();
    assert_eq!(id, "mine");
    let (heard, end) = old.hear_out().await;
    let told = heard.last().and_then(|said| said.status.clone()).unwrap();
    assert!(told.status == DISCONNECTED && told.message.contains("connection_id"), "{told:?}");
    assert_eq!(end.0, 14);
    drop(old);
    let serving = new.echo();
    for _ in 0..20 {
        let (answer, _) = call(gateway.grpc, "/twice/Say", &[], b"x").await.unwrap();
        assert_eq!(answer, "x");
    }
    assert_eq!(instances(&gateway, "twice").await.len(), 1);
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn somebody_elses_id_is_not_to_be_had() {
    let gateway = gateway().await;
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let body =
            json!([{"OwnerName": name, "OwnerId": name, "Services": [{"ServiceName": name}]}]);
        let answer = post(&gateway, "/register", &body).await.json();
        keys.push(answer["API-Key"].as_str().unwrap().to_owned());
    }
    let (_one, _) = Peer::connect(gateway.grpc, &keys[0], &["one"], "mine").await.unwrap();
    let thief = Peer::connect(gateway.grpc, &keys[1], &["two"], "mine").await;
    assert_eq!(thief.err().map(|end| end.0), Some(7));
    assert_eq!(instances(&gateway, "one").await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection_and_says_why() {
    let gateway = patient_for(Duration::from_millis(1500)).await;
    let (mut silent, _) = Peer::connect(gateway.grpc, "", &["silent"], "").await.unwrap();
    let (by_id, id) = Peer::connect(gateway.grpc, "", &["by-id"], "").await.unwrap();
    let (by_name, _) = Peer::connect(gateway.grpc, "", &["by-name"], "").await.unwrap();
    for _ in 0..15 {
        by_id.beat(&id);
        by_name.beat("by-name");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let (heard, end) = silent.hear_out().await;
    assert!(end.0 == 14 && end.1.contains("no heartbeat"), "{end:?}");
    assert!(heard.last().unwrap().status.as_ref().unwrap().message.contains("no heartbeat"));
    until_gone(&gateway, "silent").await;
    assert_eq!(instances(&gateway, "by-id").await.len(), 1);
    assert_eq!(instances(&gateway, "by-name").await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_that_leaves_finishes_what_it_has() {
    let gateway = open_gateway().await;
    let (mut peer, id) = Peer::connect(gateway.grpc, "", &["leaving"], "").await.unwrap();
    let address = gateway.grpc;
    let calling = tokio::spawn(async move { call(address, "/leaving/Say", &[], b"x").await });
    let asked = peer.asked().await;
    let status = Some(Status { connection_id: id, status: DISCONNECTED, message: String::new() });
    peer.say(&Said { status, ..Said::default() });
    until_gone(&gateway, "leaving").await;
    peer.answer(&asked, 200, b"done");
    assert_eq!(calling.await.unwrap().unwrap().0, "done");
    assert_eq!(peer.hear_out().await.1.0, 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_that_goes_says_so_and_waits_for_answers() {
    let gateway = open_gateway().await;
    let (mut peer, _) = Peer::connect(gateway.grpc, "", &["served"], "").await.unwrap();
    let address = gateway.grpc;
    let calling = tokio::spawn(async move { call(address, "/served/Say", &[], b"x").await });
    let asked = peer.asked().await;
    let stopping = tokio::spawn(gateway.stop());
    let told = peer.hear().await.unwrap().status.unwrap();
    assert_eq!(told.status, DISCONNECTED);
    peer.answer(&asked, 200, b"done");
    assert_eq!(calling.await.unwrap().unwrap().0, "done");
    let (_, end) = peer.hear_out().await;
    assert_eq!(end.0, 14);
    stopping.await.unwrap();
}

#[tokio::test]
async fn first_messages_that_are_none_are_refused_in_the_originals_words() {
    let gateway = open_gateway().await;
    let beat = Said { heartbeat: Some(Default::default()), ..Said::default() };
    let refused = |first: Vec<u8>| {
        let address = gateway.grpc;
        async move { Peer::open(address, &first).await.err().unwrap() }
    };
    use prost::Message;
    let wrong = (3, "First message must be a connection register".to_owned());
    assert_eq!(refused(framed(&beat.encode_to_vec())).await, wrong);
    assert_eq!(refused(framed(b"\xff\xff\xff")).await, wrong);
    let register = Register { services: vec!["a/b".to_owned()], ..Register::default() };
    let named = Said { register: Some(register), ..Said::default() };
    assert_eq!(refused(framed(&named.encode_to_vec())).await.0, 3);
    let many = (0..33).map(|n| n.to_string()).collect();
    let register = Register { services: many, ..Register::default() };
    let many = Said { register: Some(register), ..Said::default() };
    let refusal = refused(framed(&many.encode_to_vec())).await;
    assert!(refusal.0 == 3 && refusal.1.contains("32"), "{refusal:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_revoked_key_ends_the_streams_it_opened_within_five_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let backend = format!("sqlite:{}", directory.path().join("registry.db").display());
    let any = Some("127.0.0.1:0".parse().unwrap());
    let gateway = support::start(Flags {
        http: any,
        grpc: any,
        admin: any,
        backend: Some(backend.clone()),
        master_api_key: Some(MASTER.to_owned()),
        ..Flags::default()
    })
    .await;
    let body = json!([{"OwnerName": "o", "OwnerId": "o", "Services": [{"ServiceName": "owned"}]}]);
    let registered = post(&gateway, "/register", &body).await;
    let key = registered.json()["API-Key"].as_str().unwrap().to_owned();
    let (mut revoked, _) = Peer::connect(gateway.grpc, &key, &["owned"], "").await.unwrap();
    let (mut consumer, _) = Peer::connect(gateway.grpc, &key, &[], "").await.unwrap();
    let (kept, _) = Peer::connect(gateway.grpc, MASTER, &["owned"], "").await.unwrap();
    let serving = kept.echo();
    let registry = portolan::open(&backend).await.unwrap();
    let clock: std::sync::Arc<dyn portolan::Clock> = std::sync::Arc::new(portolan::SystemClock);
    let access = portolan::KeyAccess::new(registry, std::sync::Arc::clone(&clock), None);
    let owner = portolan::Owner::parse("o").unwrap();
    let hash = portolan::ApiKey::from_text(key).hash();
    access.revoke(&owner, hash).await.unwrap();
    let begun = clock.now();
    for peer in [&mut revoked, &mut consumer] {
        let (_, end) = peer.hear_out().await;
        assert_eq!(end, (16, "Invalid token".to_owned()));
    }
    let took = clock.now().since(begun);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(call(gateway.grpc, "/owned/M", &[], b"").await.is_ok(), "the other one serves on");
    serving.abort();
    gateway.stop().await;
}
