//! Several gateways of one registry.

use std::time::Duration;

use portolan_gateway::Gateway;
use portolan_gateway::config::Flags;

use super::peer::{Peer, call};
use super::support;

const SECRET: &str = "secret-of-the-cluster";

async fn gateway(backend: &str, secret: Option<&str>) -> Gateway {
    let any = Some("127.0.0.1:0".parse().unwrap());
    support::start(Flags {
        http: any,
        grpc: any,
        admin: any,
        backend: Some(backend.to_owned()),
        cluster_secret: secret.map(str::to_owned),
        ..Flags::default()
    })
    .await
}

/// The answer of a call, once the other gateway has heard of the service.
async fn soon(gateway: &Gateway, path: &str, wanted: i32) -> Result<String, (i32, String)> {
    let mut last = Err((-1, String::new()));
    for _ in 0..200 {
        let headers = [("grpc-timeout", "5S")];
        last = call(gateway.grpc, path, &headers, b"x").await;
        let code = last.as_ref().err().map_or(0, |refused| refused.0);
        if code == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    last.map(|(payload, _)| String::from_utf8_lossy(&payload).into_owned())
}

#[tokio::test]
async fn a_call_that_lands_elsewhere_is_passed_on_once() {
    let directory = tempfile::tempdir().unwrap();
    let backend = format!("sqlite:{}", directory.path().join("registry.db").display());
    let (one, two) = (gateway(&backend, Some(SECRET)).await, gateway(&backend, Some(SECRET)).await);
    let (mut peer, _) = Peer::connect(one.grpc, "", &["far.Away"], "").await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let asked = peer.asked().await;
            let said = format!("{} within {} s", asked.method_path, asked.timeout_seconds);
            peer.answer(&asked, if asked.payload == b"x" { 200 } else { 404 }, said.as_bytes());
        }
    });
    assert_eq!(soon(&two, "/far.Away/Say", 0).await.unwrap(), "/far.Away/Say within 5 s");
    let refused = call(two.grpc, "/far.Away/Say", &[], b"y").await.unwrap_err();
    assert_eq!(refused.0, 5, "the application's own answer: {refused:?}");

    // One that does not know the secret is not listened to, and one without any
    // does not try.
    let stranger = gateway(&backend, Some("another-secret-of-others")).await;
    let refused = soon(&stranger, "/far.Away/Say", 14).await.unwrap_err();
    assert!(refused.1.contains("secret"), "{refused:?}");
    let alone = gateway(&backend, None).await;
    let refused = soon(&alone, "/far.Away/Say", 14).await.unwrap_err();
    assert!(refused.1.contains("no healthy instance"), "{refused:?}");
    let forged = call(one.grpc, "/portolan.v1.Forward/Call", &[], b"").await.unwrap_err();
    assert_eq!(forged.0, 16);

    serving.abort();
    let _ = serving.await;
    assert!(soon(&two, "/far.Away/Say", 14).await.is_err());
    for gateway in [one, two, stranger, alone] {
        gateway.stop().await;
    }
}
