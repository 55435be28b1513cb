//! TLS on the port: with it, without it, and with a certificate that changes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portolan::access::Credential;
use portolan::grpc::{GrpcRegistry, RemoteOptions, Security, channel};
use portolan::{Query, SystemClock};
use portolan_gateway::Gateway;
use portolan_gateway::config::Flags;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::peer::{Peer, call};
use super::support::{self, MASTER};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for localhost, with its key, in files.
    fn issue(&self, directory: &Path) {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }
}

async fn gateway(directory: &Path, only: bool) -> Gateway {
    let any = Some("127.0.0.1:0".parse().unwrap());
    support::start(Flags {
        http: any,
        grpc: any,
        admin: any,
        backend: Some("memory:".to_owned()),
        master_api_key: Some(MASTER.to_owned()),
        grpc_tls_cert: Some(directory.join("cert.pem")),
        grpc_tls_key: Some(directory.join("key.pem")),
        grpc_tls_only: Some(only),
        ..Flags::default()
    })
    .await
}

/// Whether the registry can be read over TLS by who trusts these.
async fn reads(address: SocketAddr, roots: Vec<u8>) -> portolan::Result<()> {
    let host = format!("localhost:{}", address.port());
    let options = RemoteOptions::default().with_credential(Credential::key(MASTER));
    let clock = std::sync::Arc::new(SystemClock);
    let registry =
        GrpcRegistry::open(channel(&host, &Security::Roots(roots))?, options, clock).await?;
    registry.resolve(&Query::all()).await.map(drop)
}

#[tokio::test]
async fn one_port_speaks_both_and_the_wrong_authority_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(), Authority::new());
    ours.issue(directory.path());
    let gateway = gateway(directory.path(), false).await;
    reads(gateway.grpc, ours.pem()).await.unwrap();
    assert!(reads(gateway.grpc, others.pem()).await.is_err());
    let (peer, _) = Peer::connect(gateway.grpc, MASTER, &["plain"], "").await.unwrap();
    let serving = peer.echo();
    assert!(call(gateway.grpc, "/plain/M", &[], b"x").await.is_ok());
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn plaintext_can_be_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    ours.issue(directory.path());
    let gateway = gateway(directory.path(), true).await;
    reads(gateway.grpc, ours.pem()).await.unwrap();
    let request = super::peer::grpc_request(gateway.grpc, "/a/b", axum::body::Body::empty());
    assert!(super::peer::http2().request(request).await.is_err());
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_no_stream_breaks() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new(), Authority::new());
    first.issue(directory.path());
    let gateway = gateway(directory.path(), false).await;
    let url = format!("grpcs://{MASTER}@localhost:{}", gateway.grpc.port());
    std::fs::write(directory.path().join("ca.pem"), first.pem()).unwrap();
    let url = format!("{url}?ca={}", directory.path().join("ca.pem").display());
    let registry = portolan::open(&url).await.unwrap();
    let mut watch = registry.watch(&portolan::Scope::All, portolan::WatchFrom::Now).await.unwrap();
    watch.next().await.unwrap().unwrap();

    std::fs::write(directory.path().join("cert.pem"), "half a certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    reads(gateway.grpc, first.pem()).await.unwrap();
    second.issue(directory.path());
    for _ in 0..100 {
        if reads(gateway.grpc, second.pem()).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    reads(gateway.grpc, second.pem()).await.unwrap();
    assert!(reads(gateway.grpc, first.pem()).await.is_err());
    let (_peer, _) = Peer::connect(gateway.grpc, MASTER, &["news"], "").await.unwrap();
    let item = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap();
    assert!(item.unwrap().is_ok(), "the stream of the old certificate goes on");
    drop(watch);
    gateway.stop().await;
}
