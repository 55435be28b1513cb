//! Who calls through a gateway: its users, by passport, and itself.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portolan::call::{Call, CallError, Caller, Handler, Host, Peer, Reply, Subject};
use portolan::grpc::{GrpcCaller, ReverseOptions, ReverseServer, Security, channel as connect_to};
use portolan::identity::{Authority, Signed, Verifier};
use portolan::thrift::{CallerOptions, HostOptions, ThriftCaller, ThriftHost};
use portolan::{Address, AddressPolicy, ErrorKind, ServiceName};
use portolan_gateway::Gateway;
use portolan_gateway::config::Flags;
use serde_json::json;
use support::process::portolan;
use support::{Answer, connection, post, registration, send, start};

const IDL: &str = "service Users { string who() string erase() }";
const HOUR: Duration = Duration::from_secs(3600);

/// A Thrift string that says who calls.
#[derive(Debug)]
struct Who;

#[async_trait]
impl Handler for Who {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let who = call.identity.map(|who| format!("{} via {}", who.subject, who.via.join(",")));
        let who = who.unwrap_or_default();
        let length = u32::try_from(who.len()).unwrap().to_be_bytes();
        let result = [&b"\x0b\0\0"[..], &length, who.as_bytes(), b"\0"].concat();
        Ok(Reply::new(result.into()))
    }
}

/// A service behind a stream that asks `Users` for whoever asked it.
#[derive(Debug)]
struct Front {
    users: Address,
    caller: Signed,
}

#[async_trait]
impl Handler for Front {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let next = Call::new(name("Users"), "who", Bytes::from_static(b"\0")).on_behalf_of(&call);
        let reply = self.caller.call(Peer::at(&self.users), next).await?;
        Ok(Reply::new(reply.payload.slice(7..reply.payload.len() - 1)))
    }
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn policy() -> AddressPolicy {
    AddressPolicy::new().allow_loopback(true)
}

fn backend(directory: &tempfile::TempDir) -> String {
    format!("sqlite:{}", directory.path().join("registry.db").display())
}

/// A gateway with a passport, and a guarded service that has joined.
struct Estate {
    authority: Authority,
    gateway: Gateway,
    users: ThriftHost,
    /// The gateway's passport, and the registry's database.
    directory: tempfile::TempDir,
}

impl Estate {
    async fn new(takes_users: bool) -> Self {
        let authority = Authority::generate().unwrap();
        let own = authority.issue(&Subject::service("gate"), HOUR).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gate.passport");
        std::fs::write(&file, own.expose()).unwrap();
        let gateway = start(Flags {
            http: Some(any()),
            grpc: Some(any()),
            admin: Some(any()),
            backend: Some(backend(&directory)),
            identity: Some(file),
            authority: takes_users.then(|| vec![authority.key().to_string()]),
            ..Flags::default()
        })
        .await;
        let verifier = Verifier::trusting([authority.key()]).with_role("erase", "admin");
        let handler = Arc::new(verifier).protect(Arc::new(Who));
        let users = ThriftHost::serve(name("Users"), any(), handler, HostOptions::default());
        let users = users.await.unwrap();
        let answer = post(&gateway, "/register", &registration("o", "Users", IDL)).await;
        let key = answer.json()["API-Key"].as_str().unwrap().to_owned();
        let port = users.local_addr().unwrap().port().to_string();
        let mut joining = connection(&key, "Users", "127.0.0.1", &port);
        joining["Metadata"] = json!({"thrift.framing": "ttheader"});
        assert_eq!(post(&gateway, "/connect", &joining).await.status, 200);
        Self { authority, gateway, users, directory }
    }

    fn passport(&self, subject: &Subject) -> String {
        self.authority.issue(subject, HOUR).unwrap().expose().to_owned()
    }

    async fn call(&self, method: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.gateway.http, "POST", &format!("/Users/{method}"), headers, "").await
    }
}

#[tokio::test]
async fn a_call_over_http_is_its_users_and_nobody_elses() {
    let estate = Estate::new(true).await;
    assert_eq!(estate.call("who", &[]).await.body, "service:gate via ");
    let alice = estate.passport(&Subject::user("alice"));
    let alice = [("Authorization", &*format!("Bearer {alice}"))];
    assert_eq!(estate.call("who", &alice).await.body, "user:alice via gate");
    assert_eq!(estate.call("erase", &alice).await.status, 403);
    let root = estate.passport(&Subject::user("root").with_role("admin"));
    let root = [("Authorization", &*format!("Bearer {root}"))];
    assert_eq!(estate.call("erase", &root).await.body, "user:root via gate");

    // What stands in headers from outside sets nothing.
    let passport = estate.authority.issue(&Subject::user("mallory"), HOUR).unwrap();
    let proof = passport.prove("Users", None).unwrap();
    let outside = [("portolan-identity", &*proof), ("Portolan-Identity", &*proof)];
    assert_eq!(estate.call("who", &outside).await.body, "service:gate via ");
    let stranger = Authority::generate().unwrap().issue(&Subject::user("alice"), HOUR).unwrap();
    let over = estate.authority.issue(&Subject::user("alice"), Duration::ZERO).unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for passport in [stranger.expose(), over.expose(), "portolan_passport_junk"] {
        let refused = [("Authorization", &*format!("Bearer {passport}"))];
        let answer = estate.call("who", &refused).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"), "{answer:?}");
        assert!(!answer.body.contains(passport), "{answer:?}");
    }
    estate.gateway.stop().await;
}

/// What the command line prints, on one stream or the other.
async fn run(arguments: &[&str]) -> String {
    let mut command = portolan(arguments);
    // The gateway lives on this thread, and has to answer.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(text).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_command_line_calls_as_whoever_a_passport_is_of() {
    let estate = Estate::new(true).await;
    let file = estate.directory.path().join("alice.passport");
    let passport = estate.passport(&Subject::user("alice"));
    std::fs::write(&file, format!("{passport}\n")).unwrap();
    let file = file.to_str().unwrap();
    let gateway = format!("http://{}", estate.gateway.http);
    let call = ["call", "Users", "who", "--gateway", &gateway];
    assert_eq!(run(&call).await, "service:gate via");
    assert_eq!(run(&[&call[..], &["--passport", file]].concat()).await, "user:alice via gate");
    let backend = backend(&estate.directory);
    let call = ["call", "Users", "who", "--backend", &backend];
    let refused = run(&call).await;
    assert!(refused.contains("who makes it"), "{refused}");
    assert_eq!(run(&[&call[..], &["--passport", file]].concat()).await, "user:alice via");
    let junk = format!("{file}.none");
    let refused = run(&[&call[..], &["--passport", &junk]].concat()).await;
    assert!(refused.contains("--passport") && refused.contains(&junk), "{refused}");
    estate.gateway.stop().await;
}

#[tokio::test]
async fn a_call_is_its_users_up_a_stream_and_on_to_another_wire() {
    let estate = Estate::new(true).await;
    let own = Arc::new(estate.authority.issue(&Subject::service("Front"), HOUR).unwrap());
    let thrift = ThriftCaller::new(policy(), CallerOptions::default().with_ttheader(true));
    let users = estate.users.offers()[0].addresses[0].clone();
    let front = Front { users, caller: Signed::new(Arc::new(thrift), own) };
    let verifier = Arc::new(Verifier::trusting([estate.authority.key()]));
    let gateway = connect_to(&estate.gateway.grpc.to_string(), &Security::Plaintext).unwrap();
    let handler = verifier.protect(Arc::new(front));
    let service = vec![name("Front")];
    let server = ReverseServer::start(service, vec![gateway], handler, ReverseOptions::default());
    server.connected().await;

    let grpc = GrpcCaller::new(policy(), Security::Plaintext);
    let door = Address::parse(&format!("grpc://{}", estate.gateway.grpc)).unwrap();
    let asked = |authorization: &str| {
        let call = Call::new(name("Front"), "ask", Bytes::new());
        call.with_header("authorization", authorization)
    };
    let alice = estate.passport(&Subject::user("alice"));
    let reply = grpc.call(Peer::at(&door), asked(&format!("Bearer {alice}"))).await.unwrap();
    assert_eq!(&reply.payload[..], b"user:alice via gate,Front");
    assert!(reply.header("portolan-identity").is_none());
    let reply = grpc.call(Peer::at(&door), asked("Basic x")).await.unwrap();
    assert_eq!(&reply.payload[..], b"service:gate via Front");
    let junk = asked("Bearer portolan_passport_junk");
    let refused = grpc.call(Peer::at(&door), junk).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated.into());
    server.close().await;
    estate.gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_that_trusts_no_authority_says_so() {
    let estate = Estate::new(false).await;
    assert_eq!(estate.call("who", &[]).await.body, "service:gate via ");
    let alice = estate.passport(&Subject::user("alice"));
    let refused = estate.call("who", &[("Authorization", &format!("Bearer {alice}"))]).await;
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("--authority"), "{refused:?}");
    estate.gateway.stop().await;
}
