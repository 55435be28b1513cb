//! A process that serves two services over two wires, as one instance.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portolan::call::Subject;
use portolan::call::{Call, CallError, Caller, Handler, Host, Peer, Reply};
use portolan::grpc::{GrpcCaller, GrpcHost, Security};
use portolan::identity::{Authority, Signed, Verifier};
use portolan::status::{Status, StatusServer};
use portolan::thrift::{CallerOptions, HostOptions, ThriftCaller, ThriftHost};
use portolan::{
    Address, AddressPolicy, Client, ErrorKind, Filter, Metadata, Phase, Query, Service,
    ServiceName, StopOptions, Transport,
};
use tonic::service::Routes;
use tonic_health::ServingStatus;

const HEALTH: &str = "grpc.health.v1.Health";

/// Takes its time, so that there is something in flight.
#[derive(Debug)]
struct Slow(Duration);

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        tokio::time::sleep(self.0).await;
        Ok(Reply::new(call.payload))
    }
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

async fn thrift(service: &str, takes: Duration) -> ThriftHost {
    let (handler, options) = (Arc::new(Slow(takes)), HostOptions::default());
    ThriftHost::serve(name(service), any(), handler, options).await.unwrap()
}

async fn grpc() -> GrpcHost {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    GrpcHost::serve(vec![name(HEALTH)], any(), Routes::new(health)).await.unwrap()
}

/// The phase of the one instance that is there; none where nobody is.
async fn phase(client: &Client) -> Option<Phase> {
    let view = client.registry().resolve(&Query::all()).await.unwrap();
    view.instances.first().map(|instance| instance.phase)
}

async fn seen(client: &Client, wanted: Option<Phase>) {
    for _ in 0..200 {
        if phase(client).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {wanted:?}, but {:?}", phase(client).await);
}

#[tokio::test]
async fn one_instance_starts_is_ready_drains_and_leaves() {
    let client = Client::open("memory:").await.unwrap();
    let slow = thrift("Users", Duration::from_millis(700)).await;
    let address = slow.offers()[0].addresses[0].clone();
    let serving = Service::new("Users")
        .unwrap()
        .with_no_auth()
        .with_host(slow)
        .with_host(grpc().await)
        .with_address(Address::parse("tcp://127.0.0.1:4100").unwrap())
        .with_tag("color", "blue")
        .with_stop(StopOptions::default().with_notice(Duration::from_millis(50)))
        .join(&client)
        .unwrap();
    serving.connected().await;
    assert_eq!(phase(&client).await, Some(Phase::Starting));
    let view = client.registry().resolve(&Query::all()).await.unwrap();
    let offers = &view.instances[0].offers;
    assert_eq!(offers.len(), 2, "one for each service: {offers:?}");
    let users = offers.iter().find(|offer| offer.service == name("Users")).unwrap();
    let transports: Vec<_> = users.addresses.iter().map(Address::transport).collect();
    assert_eq!(transports, [Transport::Thrift, Transport::Tcp]);
    let blue = Filter::default().with_metadata(Metadata::new([("color", "blue")]).unwrap());
    for service in ["Users", HEALTH] {
        let query = Query::service(name(service)).with_filter(blue.clone());
        assert_eq!(client.registry().resolve(&query).await.unwrap().instances.len(), 1);
    }
    serving.ready();
    seen(&client, Some(Phase::Ready)).await;

    // A call in flight when it stops is answered, and callers see that it drains.
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller = Arc::new(ThriftCaller::new(policy, CallerOptions::default()));
    let calling = tokio::spawn(async move {
        let call = Call::new(name("Users"), "get", Bytes::from_static(b"\0"));
        caller.call(Peer::at(&address), call).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = tokio::spawn(serving.stop());
    seen(&client, Some(Phase::Draining)).await;
    assert_eq!(&calling.await.unwrap().unwrap().payload[..], b"\0");
    stopping.await.unwrap().unwrap();
    assert_eq!(phase(&client).await, None);
}

#[tokio::test]
async fn alone_it_serves_whoever_knows_the_address() {
    let host = thrift("Users", Duration::ZERO).await;
    let address = host.offers()[0].addresses[0].clone();
    let serving = Service::new("Users").unwrap().with_no_auth().with_host(host).alone().unwrap();
    serving.ready(); // To nobody.
    serving.connected().await;
    assert!(serving.membership().is_none());
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller = ThriftCaller::new(policy, CallerOptions::default());
    let call = Call::new(name("Users"), "get", Bytes::from_static(b"\0"));
    assert!(caller.call(Peer::at(&address), call.clone()).await.is_ok());
    serving.stop().await.unwrap();
    assert!(caller.call(Peer::at(&address), call).await.is_err());
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let client = Client::open("memory:").await.unwrap();
    let kind = |service: Service| service.join(&client).map(drop).unwrap_err().kind();
    assert_eq!(kind(Service::new("Users").unwrap()), ErrorKind::InvalidArgument);
    assert!(Service::new("a/b").is_err());
    let host = thrift("Users", Duration::ZERO).await;
    let tagged = Service::new("Users").unwrap().with_no_auth().with_host(host).with_tag("", "blue");
    assert_eq!(kind(tagged), ErrorKind::InvalidArgument);
}

/// One request over HTTP/1, as an operator's tool makes it.
async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn its_operator_sees_how_it_is_and_stops_it() {
    let client = Client::open("memory:").await.unwrap();
    let status = Status::of(name("Users")).with_dependency("Mail").build();
    let server = StatusServer::listen(any(), status).unwrap();
    let address = server.local_addr();
    let serving = Service::new("Users")
        .unwrap()
        .with_no_auth()
        .with_host(thrift("Users", Duration::ZERO).await)
        .with_operator(server)
        .join(&client)
        .unwrap();
    serving.connected().await;
    let view = client.registry().resolve(&Query::all()).await.unwrap();
    let told = view.instances[0].offers[0].metadata.get("status").map(str::to_owned);
    assert_eq!(told, Some(format!("http://{address}")));
    let _mail = client.follow(&name("Mail"));
    assert!(get(address, "/internal/health", "").await.ends_with("\r\n\r\nSTARTING"));
    let running = tokio::spawn(serving.run());
    seen(&client, Some(Phase::Ready)).await;
    assert!(get(address, "/internal/health", "").await.ends_with("\r\n\r\nREADY"));
    let connections = get(address, "/internal/service-info/grpc-connections", "").await;
    assert!(connections.contains("# 1 requested connections\nMail\n# 1 blocked"), "{connections}");
    // A page that a browser here shows is nobody's operator.
    let page = "Origin: http://evil.example\r\n";
    let refused = get(address, "/internal/pleaseshutdown", page).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    get(address, "/internal/unregister", "").await;
    seen(&client, Some(Phase::Draining)).await;
    assert!(get(address, "/internal/health", "").await.ends_with("STOPPING"));
    assert!(!running.is_finished(), "it goes on");
    assert!(get(address, "/internal/pleaseshutdown", "").await.ends_with("OK\n"));
    running.await.unwrap().unwrap();
    assert_eq!(phase(&client).await, None);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "it ends with the service");
}

#[tokio::test]
async fn who_anybody_may_call_has_to_say_so() {
    let client = Client::open("memory:").await.unwrap();
    let open = || async {
        Service::new("Users").unwrap().with_host(thrift("Users", Duration::ZERO).await)
    };
    let refused = open().await.join(&client).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let told = refused.to_string();
    assert!(told.contains("with_no_auth") && told.contains("Users"), "{told}");
    assert!(open().await.alone().is_err());
    assert!(open().await.with_no_auth().alone().is_ok());
    let trusted = Authority::generate().unwrap().key();
    let verifier = Arc::new(Verifier::trusting([trusted]));
    let handler = verifier.protect(Arc::new(Slow(Duration::ZERO)));
    let host = ThriftHost::serve(name("Users"), any(), handler, HostOptions::default());
    let guarded = Service::new("Users").unwrap().with_host(host.await.unwrap());
    assert!(guarded.join(&client).is_ok());
}

#[tokio::test]
async fn a_service_of_tonic_is_guarded_and_its_status_tells_who_called() {
    let authority = Authority::generate().unwrap();
    let verifier = Verifier::trusting([authority.key()]).with_role("Watch", "admin");
    let verifier = Arc::new(verifier);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let guard: Arc<Verifier> = Arc::clone(&verifier);
    let host = GrpcHost::serve_guarded(guard, vec![name(HEALTH)], any(), Routes::new(health));
    let host = host.await.unwrap();
    let address = host.offers()[0].addresses[0].clone();
    let (asked, counted) = (Arc::clone(&verifier), Arc::clone(&verifier));
    let status = Status::of(name(HEALTH))
        .with_callers(move || asked.call_counts())
        .with_metrics(move || counted.metrics())
        .build();
    let server = StatusServer::listen(any(), status).unwrap();
    let told = server.local_addr();
    let service = Service::new(HEALTH).unwrap().with_host(host).with_operator(server);
    let _serving = service.alone().unwrap();

    let policy = AddressPolicy::new().allow_loopback(true);
    let bare: Arc<dyn Caller> = Arc::new(GrpcCaller::new(policy, Security::Plaintext));
    let call = |method: &str| Call::new(name(HEALTH), method, Bytes::new());
    let refused = bare.call(Peer::at(&address), call("Check")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated.into());
    let subject = Subject::service("Mail");
    let passport = authority.issue(&subject, Duration::from_secs(60)).unwrap();
    let signed = Signed::new(Arc::clone(&bare), Arc::new(passport));
    assert!(signed.call(Peer::at(&address), call("Check")).await.is_ok());
    let refused = signed.call(Peer::at(&address), call("Watch")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied.into());

    let callers = get(told, "/internal/service-info/grpc-callers/text", "").await;
    let expected =
        format!("COUNT: services=1, methods=1, callers=1\nENTRY: {HEALTH}.Check service:Mail\n");
    assert!(callers.ends_with(&expected), "{callers}");
    let page = get(told, "/internal/service-info/grpc-callers", "").await;
    assert!(page.contains("<td>service:Mail</td>"), "{page}");
    let metrics = get(told, "/metrics", "").await;
    for line in ["{reason=\"missing\"} 1", "{reason=\"role\"} 1", "{reason=\"forged\"} 0"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn every_service_has_a_status_server_unless_it_goes_without() {
    let client = Client::open("memory:").await.unwrap();
    let service = || async {
        let host = thrift("Users", Duration::ZERO).await;
        Service::new("Users").unwrap().with_no_auth().with_host(host)
    };
    let told = |client: Client| async move {
        let view = client.registry().resolve(&Query::all()).await.unwrap();
        view.instances[0].offers[0].metadata.get("status").map(str::to_owned)
    };
    let serving = service().await.join(&client).unwrap();
    serving.connected().await;
    let url = told(client.clone()).await.unwrap();
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());
    serving.ready();
    assert!(get(address, "/internal/health", "").await.ends_with("READY"));
    let callers = get(address, "/internal/service-info/grpc-callers", "").await;
    assert!(callers.starts_with("HTTP/1.1 501"), "nobody has to say who they are: {callers}");
    serving.stop().await.unwrap();
    let serving = service().await.without_status().join(&client).unwrap();
    serving.connected().await;
    assert_eq!(told(client).await, None);
}
