//! The front door: what any gRPC client finds on the port.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;

use super::connect::open_gateway;
use super::peer::{Peer, call, ended, framed, grpc_request, http2};

#[tokio::test]
async fn health_is_served_and_unknown_services_are_not_found() {
    let gateway = open_gateway().await;
    let (payload, _) = call(gateway.grpc, "/grpc.health.v1.Health/Check", &[], b"").await.unwrap();
    assert_eq!(&payload[..], [8, 1], "status (1) is SERVING (1)");
    let unknown = call(gateway.grpc, "/pkg.Nope/Method", &[], b"").await.unwrap_err();
    assert_eq!(unknown, (5, "Service 'pkg.Nope' not found in registry".to_owned()));
    let path = call(gateway.grpc, "/nothing", &[], b"").await.unwrap_err();
    assert_eq!(path, (3, "Path must have at least service and method parts".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn times_are_bounded_and_what_is_no_time_is_said() {
    let gateway = open_gateway().await;
    let (mut peer, _) = Peer::connect(gateway.grpc, "", &["timed"], "").await.unwrap();
    let address = gateway.grpc;
    for (asked, seconds) in [("99999999H", 60), ("2S", 2), ("1m", 1)] {
        let calling = tokio::spawn(async move {
            call(address, "/timed/M", &[("grpc-timeout", asked)], b"").await
        });
        let arrived = peer.asked().await;
        assert_eq!(arrived.timeout_seconds, seconds, "{asked}");
        peer.answer(&arrived, 200, b"");
        let outcome = calling.await.unwrap();
        assert!(outcome.is_ok() || asked == "1m", "{asked}: {outcome:?}");
    }
    let absurd = call(address, "/timed/M", &[("grpc-timeout", "soon")], b"").await.unwrap_err();
    assert_eq!(absurd.0, 3);
    let none_left = call(address, "/timed/M", &[("grpc-timeout", "0S")], b"").await.unwrap_err();
    assert_eq!(none_left.0, 4, "{none_left:?}");
    let waited = call(address, "/timed/M", &[("grpc-timeout", "50m")], b"").await.unwrap_err();
    assert_eq!(waited.0, 4);
    gateway.stop().await;
}

#[tokio::test]
async fn streams_of_messages_are_refused_clearly() {
    let gateway = open_gateway().await;
    let two = [framed(b"one"), framed(b"two")].concat();
    let answer =
        http2().request(grpc_request(gateway.grpc, "/a/b", Body::from(two))).await.unwrap();
    let refused = ended(answer.headers()).unwrap();
    assert!(refused.0 == 12 && refused.1.contains("one message"), "{refused:?}");
    let none = http2().request(grpc_request(gateway.grpc, "/a/b", Body::empty())).await.unwrap();
    assert_eq!(ended(none.headers()).unwrap().0, 3);
    gateway.stop().await;
}

#[tokio::test]
async fn who_does_not_speak_grpc_is_told() {
    let gateway = open_gateway().await;
    let request = Request::get(format!("http://{}/a/b", gateway.grpc)).body(Body::empty());
    let answer = http2().request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 415);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("gRPC"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_that_nobody_connects_is_unavailable_at_once() {
    let gateway = open_gateway().await;
    let (peer, _) = Peer::connect(gateway.grpc, "", &["came.And.Went"], "").await.unwrap();
    let serving = peer.echo();
    assert!(call(gateway.grpc, "/came.And.Went/M", &[], b"").await.is_ok());
    serving.abort();
    let _ = serving.await;
    let mut code = 0;
    for _ in 0..200 {
        code = call(gateway.grpc, "/came.And.Went/M", &[], b"").await.unwrap_err().0;
        if code == 14 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(code, 14);
    gateway.stop().await;
}
