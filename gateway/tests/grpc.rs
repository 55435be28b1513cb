//! The gRPC listener: health, and UNIMPLEMENTED for everything else.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use support::gateway;

/// A unary call with an empty message, as any gRPC client sends it.
async fn call(address: std::net::SocketAddr, path: &str) -> Response<Incoming> {
    let client: Client<_, Body> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::post(format!("http://{address}{path}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::from(vec![0_u8; 5]));
    client.request(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn health_is_served_and_the_rest_is_unimplemented() {
    let gateway = gateway().await;
    let response = call(gateway.grpc, "/grpc.health.v1.Health/Check").await;
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    // One field: status (1) is SERVING (1).
    assert_eq!(&body.to_bytes()[..], [0, 0, 0, 0, 2, 8, 1]);

    let response = call(gateway.grpc, "/pkg.Nope/Method").await;
    assert_eq!(response.headers()["grpc-status"], "12", "UNIMPLEMENTED");
    gateway.stop().await;
}
