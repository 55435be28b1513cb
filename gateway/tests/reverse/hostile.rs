//! Peers that break the rules: each costs its own connection, and nobody else's
//! calls.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::open_gateway;
use super::peer::{
    Answered, Asked, Peer, Register, Said, call, ended, framed, grpc_request, http2,
};

/// A service that is fine, and stays so.
async fn bystander(address: SocketAddr) -> tokio::task::JoinHandle<()> {
    let (peer, _) = Peer::connect(address, "", &["fine"], "").await.unwrap();
    peer.echo()
}

async fn is_fine(address: SocketAddr) {
    let answer = timeout(Duration::from_secs(2), call(address, "/fine/M", &[], b"x")).await;
    assert_eq!(answer.expect("at once").unwrap().0, "x");
}

fn response(id: &str, payload: Vec<u8>) -> Said {
    let response =
        Answered { request_id: id.to_owned(), status_code: 200, payload, ..Answered::default() };
    Said { response: Some(response), ..Said::default() }
}

#[tokio::test]
async fn answers_nobody_asked_for_end_the_stream_after_the_tenth() {
    let gateway = open_gateway().await;
    let serving = bystander(gateway.grpc).await;
    let register = Said { register: Some(Register::default()), ..Said::default() };
    for offence in [response("77", Vec::new()), response("nonsense", Vec::new()), register] {
        let (mut peer, _) = Peer::connect(gateway.grpc, "", &["odd"], "").await.unwrap();
        for _ in 0..9 {
            peer.say(&offence);
        }
        let address = gateway.grpc;
        let calling = tokio::spawn(async move { call(address, "/odd/M", &[], b"").await });
        let asked = peer.asked().await;
        peer.answer(&asked, 200, b"still here");
        assert_eq!(calling.await.unwrap().unwrap().0, "still here");
        peer.answer(&asked, 200, b"twice");
        let (_, end) = peer.hear_out().await;
        assert_eq!(end.0, 3, "{end:?}");
    }
    is_fine(gateway.grpc).await;
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn answers_that_come_too_late_are_no_offence() {
    let gateway = open_gateway().await;
    let (mut peer, _) = Peer::connect(gateway.grpc, "", &["late"], "").await.unwrap();
    let mut late = Vec::new();
    for _ in 0..12 {
        let address = gateway.grpc;
        let given_up = [("grpc-timeout", "150m")];
        assert_eq!(call(address, "/late/M", &given_up, b"").await.unwrap_err().0, 4);
        late.push(peer.asked().await);
    }
    late.iter().for_each(|asked| peer.answer(asked, 200, b"late"));
    let address = gateway.grpc;
    let calling = tokio::spawn(async move { call(address, "/late/M", &[], b"").await });
    let asked = peer.asked().await;
    peer.answer(&asked, 200, b"in time");
    assert_eq!(calling.await.unwrap().unwrap().0, "in time");
    gateway.stop().await;
}

#[tokio::test]
async fn messages_that_are_too_large_are_answered_and_the_stream_survives() {
    let gateway = open_gateway().await;
    let address = gateway.grpc;
    let (mut peer, _) = Peer::connect(address, "", &["large"], "").await.unwrap();
    let calling = tokio::spawn(async move { call(address, "/large/M", &[], b"").await });
    let asked = peer.asked().await;
    peer.say(&response(&asked.request_id, vec![0; 3 << 20]));
    let refused = calling.await.unwrap().unwrap_err();
    assert!(refused.0 == 13 && refused.1.contains("too large"), "{refused:?}");
    let request = Asked {
        request_id: "up".to_owned(),
        method_path: "/fine/M".to_owned(),
        payload: vec![0; 3 << 20],
        ..Asked::default()
    };
    peer.say(&Said { request: Some(request), ..Said::default() });
    let answered = peer.hear().await.unwrap().response.unwrap();
    assert_eq!((answered.request_id.as_str(), answered.status_code), ("up", 400));
    let refused = call(address, "/large/M", &[], &vec![0; 3 << 20]).await.unwrap_err();
    assert_eq!(refused.0, 8, "{refused:?}");
    let calling = tokio::spawn(async move { call(address, "/large/M", &[], b"").await });
    let asked = peer.asked().await;
    peer.answer(&asked, 200, b"still here");
    assert_eq!(calling.await.unwrap().unwrap().0, "still here");
    gateway.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_end_their_stream_alone() {
    let gateway = open_gateway().await;
    let serving = bystander(gateway.grpc).await;
    let nested = [0x53; 5_000]; // Groups in groups, of a field that is not known.
    let gigabytes = [0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    for (bytes, code) in [
        (&gigabytes[..], 8),
        (&[7, 0, 0, 0, 1, 0], 13),
        (&[1, 0, 0, 0, 1, 0], 12),
        (&framed(&nested), 3),
        (&framed(b"\x1a\xff"), 3),
    ] {
        let (mut peer, _) = Peer::connect(gateway.grpc, "", &["broken"], "").await.unwrap();
        peer.say_bytes(bytes);
        let (_, end) = peer.hear_out().await;
        assert_eq!(end.0, code, "{bytes:x?}: {end:?}");
        let front = Body::from(bytes.to_vec());
        let refused = http2().request(grpc_request(gateway.grpc, "/fine/M", front)).await.unwrap();
        if code != 3 {
            assert_eq!(ended(refused.headers()).unwrap().0, code, "{bytes:x?}");
        }
    }
    let half = Body::from(vec![0, 0, 0, 0, 9, 1]);
    let refused = http2().request(grpc_request(gateway.grpc, "/fine/M", half)).await.unwrap();
    assert_eq!(ended(refused.headers()).unwrap().0, 13);
    is_fine(gateway.grpc).await;
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn strangers_get_no_room_for_large_messages() {
    let gateway = open_gateway().await;
    let services = (0..30).map(|n| format!("{n}{}", "x".repeat(3000))).collect();
    let register = Register { services, ..Register::default() };
    let first = Said { register: Some(register), ..Said::default() };
    let refused = Peer::open(gateway.grpc, &framed(&first.encode_to_vec())).await.err().unwrap();
    assert_eq!(refused.0, 8, "{refused:?}");
    let announced = [0, 0, 0xf0, 0, 0]; // 15 MiB to the registry, without a key.
    let path = "/portolan.v1.Registry/Register";
    let keyed = super::support::gateway().await;
    let request = grpc_request(keyed.grpc, path, Body::from(announced.to_vec()));
    let refused = http2().request(request).await.unwrap();
    assert!(matches!(ended(refused.headers()).unwrap().0, 8 | 11), "{refused:?}");
    keyed.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_that_reads_nothing_is_let_go() {
    let gateway = open_gateway().await;
    let address = gateway.grpc;
    let serving = bystander(address).await;
    let (_deaf, _) = Peer::connect(address, "", &["deaf"], "").await.unwrap();
    // Twice as much as can wait: once in the gateway's box, and once more in a message
    // that HTTP/2 has begun to send.
    let calls: Vec<_> = (0..32)
        .map(|_| {
            tokio::spawn(async move {
                let headers = [("grpc-timeout", "60S")];
                call(address, "/deaf/M", &headers, &vec![0; 900 << 10]).await.unwrap_err()
            })
        })
        .collect();
    let mut codes = Vec::new();
    for calling in calls {
        is_fine(address).await;
        let ended = timeout(Duration::from_secs(30), calling).await.expect("it is let go");
        codes.push(ended.unwrap().0);
    }
    assert!(codes.contains(&8), "what waits is bounded: {codes:?}");
    assert!(codes.contains(&14), "what waited is told: {codes:?}");
    assert!(codes.iter().all(|code| [8, 14].contains(code)), "{codes:?}");
    let gone = call(address, "/deaf/M", &[], b"").await.unwrap_err();
    assert_eq!(gone.0, 14, "{gone:?}");
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn rapid_resets_cost_the_connection_they_come_on() {
    let gateway = open_gateway().await;
    let serving = bystander(gateway.grpc).await;
    let stream = TcpStream::connect(gateway.grpc).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let mut refused = false;
    for _ in 0..10_000 {
        let Ok(ready) = client.ready().await else {
            refused = true;
            break;
        };
        client = ready;
        let request = http::Request::post(format!("http://{}/fine/M", gateway.grpc)).body(());
        match client.send_request(request.unwrap(), false) {
            Ok((_, mut body)) => {
                let _ = body.send_data(Bytes::from_static(b"\0"), false);
                body.send_reset(h2::Reason::CANCEL);
            }
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    let ended = timeout(Duration::from_secs(5), driving).await;
    let refused = refused || matches!(ended, Ok(Ok(Err(_))));
    assert!(refused, "ten thousand resets went through");
    is_fine(gateway.grpc).await;
    serving.abort();
    gateway.stop().await;
}
