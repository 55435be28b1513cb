//! go-easyops' registry beyond what its peers do by themselves: probing, registries
//! upstream, files of servers that know none.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portolan::call::{Call, Caller, Peer};
use portolan::grpc::{GrpcCaller, Identity};
use portolan::{Address, AddressPolicy, ServiceName};
use portolan_gateway::Gateway;
use portolan_gateway::config::Flags;
use prost::Message;
use rustls::pki_types::PrivatePkcs8KeyDer;
use support::start;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const STATUS: i32 = 0;
const GRPC: i32 = 1;
const READY: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Register {
    #[prost(string, tag = "1")]
    process: String,
    #[prost(uint32, tag = "2")]
    port: u32,
    #[prost(int32, repeated, tag = "3")]
    apis: Vec<i32>,
    #[prost(string, tag = "4")]
    service: String,
    #[prost(int32, tag = "8")]
    health: i32,
}

#[derive(Clone, PartialEq, Message)]
struct GetTarget {
    #[prost(int32, tag = "1")]
    api: i32,
    #[prost(string, repeated, tag = "2")]
    services: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Targets {
    #[prost(message, repeated, tag = "1")]
    targets: Vec<Target>,
}

#[derive(Clone, PartialEq, Message)]
struct Target {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(uint32, tag = "3")]
    port: u32,
}

fn registration(service: &str, port: u16) -> Register {
    Register {
        process: format!("L-{service}"),
        port: port.into(),
        apis: vec![STATUS, GRPC],
        service: service.to_owned(),
        health: READY,
    }
}

/// A client of the registry that speaks TLS.
struct Cloud {
    caller: GrpcCaller,
    registry: Address,
}

impl Cloud {
    fn at(address: SocketAddr) -> Self {
        let identity = Arc::new(Identity::read(&Identity::generate().unwrap(), "test").unwrap());
        let policy = AddressPolicy::new().allow_loopback(true);
        let registry = Address::parse(&format!("easyops://{address}")).unwrap();
        Self { caller: GrpcCaller::easyops(policy, identity).unwrap(), registry }
    }

    async fn ask<R: Message + Default>(&self, method: &str, question: &impl Message) -> R {
        let registry = ServiceName::parse("registry.Registry").unwrap();
        let call = Call::new(registry, method, question.encode_to_vec().into());
        let reply = self.caller.call(Peer::at(&self.registry), call).await.unwrap();
        R::decode(reply.payload).unwrap()
    }

    async fn register(&self, service: &str, port: u16) {
        let _: () = self.ask("V2RegisterService", &registration(service, port)).await;
    }

    async fn ports(&self, service: &str) -> Vec<u32> {
        let question = GetTarget { api: GRPC, services: vec![service.to_owned()] };
        let found: Targets = self.ask("V2GetTarget", &question).await;
        found.targets.iter().map(|target| target.port).collect()
    }

    /// Waits until as many are found as wanted.
    async fn finds(&self, service: &str, wanted: &[u32]) {
        for _ in 0..400 {
            if self.ports(service).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{service}: never {wanted:?}, but {:?}", self.ports(service).await);
    }
}

fn flags(directory: &tempfile::TempDir) -> Flags {
    let any = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    Flags {
        http: any,
        grpc: any,
        admin: any,
        easyops: any,
        easyops_key: Some(directory.path().join("cloud.key")),
        backend: Some("memory:".to_owned()),
        ..Flags::default()
    }
}

fn cloud(gateway: &Gateway) -> Cloud {
    Cloud::at(gateway.easyops.unwrap()[1])
}

/// A server that answers every path as `answer` says; its port.
async fn server(tasks: &mut JoinSet<()>, answer: fn(&str) -> (u16, &'static str)) -> u16 {
    let made = rcgen::generate_simple_self_signed(["rfc-client".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            assert!(stream.get_ref().1.server_name().is_none(), "probes name nobody");
            let mut question = [0; 1024];
            let read = stream.read(&mut question).await.unwrap_or(0);
            let question = String::from_utf8_lossy(&question[..read]).into_owned();
            let path = question.split(' ').nth(1).unwrap_or_default();
            let (status, body) = answer(path);
            let answer = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await; // It may have gone.
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn who_does_not_say_how_it_is_is_taken_out() {
    let directory = tempfile::tempdir().unwrap();
    let every = Some(Duration::from_millis(50));
    let gateway = start(Flags { easyops_probe: every, ..flags(&directory) }).await;
    let cloud = cloud(&gateway);
    let mut tasks = JoinSet::new();
    let well = server(&mut tasks, |_| (200, "READY")).await;
    let old = server(&mut tasks, |path| match path {
        "/internal/service-info/name" => (200, "old.Service"),
        _ => (404, ""),
    });
    let old = old.await;
    let ill = server(&mut tasks, |_| (500, "")).await;
    let odd = server(&mut tasks, |_| (200, "PERHAPS")).await;
    for (service, port) in
        [("well.Service", well), ("old.Service", old), ("ill.Service", ill), ("odd.Service", odd)]
    {
        cloud.register(service, port).await;
        cloud.finds(service, &[port.into()]).await;
    }
    cloud.finds("ill.Service", &[]).await;
    cloud.finds("odd.Service", &[]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(cloud.ports("well.Service").await, [u32::from(well)]);
    assert_eq!(cloud.ports("old.Service").await, [u32::from(old)]);
    gateway.stop().await;
}

/// Two ports that follow each other, free a moment ago.
fn pair() -> u16 {
    let bound = |port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let begin = 15_000 + (std::process::id() % 2_000) as u16 * 2;
    (begin..19_990).step_by(2).find(|port| bound(*port) && bound(port + 1)).unwrap()
}

#[tokio::test]
async fn what_is_not_here_is_asked_for_upstream() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(flags(&directory)).await;
    cloud(&first).register("far.Service", 4100).await;
    // The second one also asks itself, which must end.
    let own = pair();
    let upstream = vec![first.easyops.unwrap()[1].to_string(), format!("127.0.0.1:{}", own + 1)];
    let second = start(Flags {
        easyops: Some((Ipv4Addr::LOCALHOST, own).into()),
        easyops_upstream: Some(upstream),
        ..flags(&directory)
    })
    .await;
    let near = cloud(&second);
    assert_eq!(near.ports("far.Service").await, [4100]);
    assert!(near.ports("nobody.Service").await.is_empty());
    near.register("far.Service", 4200).await;
    assert_eq!(near.ports("far.Service").await, [4200], "what is here goes first");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn servers_that_know_no_registry_join_by_their_files() {
    let (directory, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let path = |name: &str| files.path().join(name);
    let left = registration("alone.Service", port).encode_to_vec();
    std::fs::write(path("alone.Service.proto"), left).unwrap();
    std::fs::write(path("junk.proto"), b"\xff\xff\xff").unwrap();
    std::fs::write(path("huge.proto"), vec![0; 1 << 20]).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("endless.proto")).unwrap();
    std::fs::create_dir(path("directory.proto")).unwrap();
    let standalone = Some(files.path().to_owned());
    let gateway = start(Flags { easyops_standalone: standalone, ..flags(&directory) }).await;
    let cloud = cloud(&gateway);
    cloud.finds("alone.Service", &[port.into()]).await;
    // Not written for long: it is there as long as it can be connected to.
    let file = std::fs::File::options().write(true).open(path("alone.Service.proto")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(cloud.ports("alone.Service").await, [u32::from(port)]);
    drop(listener);
    cloud.finds("alone.Service", &[]).await;
    gateway.stop().await;
}
