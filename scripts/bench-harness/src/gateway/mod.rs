//! HTTP to Thrift and back through the gateway, against nginx that proxies the
//! same answer, and against the same way over a tree.
//!
//! The load, what answers, and the gateway or nginx have one thread each.

mod http;
mod nginx;
#[path = "../transcode/tree.rs"]
mod tree;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use portolan::call::{Call, CallError, Caller, Handler, Peer, Reply};
use portolan::thrift::{CallerOptions, HostOptions, ThriftCaller, ThriftHost, idl};
use portolan::{Address, AddressPolicy, Metadata, ServiceName};
use portolan_gateway::config::Flags;
use portolan_gateway::{Config, Gateway};
use serde_json::json;

use crate::calls::{load, one_thread};
use crate::rounds::Table;

const IDL: &str = "struct Text { 1: string text } service Echo { Text echo(1: Text text) }";

pub fn measure(table: &mut Table) {
    let (servers, clients, gateways) = (one_thread(), one_thread(), one_thread());
    let thrift = servers.block_on(serve_thrift());
    let at = thrift.local_addr().expect("it listens");
    let upstream = servers.block_on(serve_http());
    let multiplexed = Metadata::new([("thrift.multiplex", "true")]).expect("facts");
    let (_one, mux) = gateways.block_on(start(at, &json!({"thrift.multiplex": "true"})));
    let (_other, pooled) = gateways.block_on(start(at, &json!({})));
    let over_tree = gateways.block_on(serve_tree(at, multiplexed));
    let nginx = nginx::Nginx::start(upstream);

    for (size, shown) in [(128, "128 B"), (16 * 1024, "16 KiB")] {
        let body = format!("{{\"text\":\"{}\"}}", "x".repeat(size - 11));
        let payload = Bytes::from(body);
        let mut row = |name: &str, goal, floor: SocketAddr, ours: SocketAddr| {
            let (floor, ours) = (http::calling(floor), http::calling(ours));
            let run = |make, calls| load(&clients, make, 64, &payload, calls);
            let name = format!("gateway {name}, {shown}, 64 at a time");
            table.rate(&name, goal, |calls| run(&floor, calls), |calls| run(&ours, calls));
        };
        let small = size == 128;
        let Some(nginx) = &nginx else {
            eprintln!("nginx is not installed: its rows are left out");
            continue;
        };
        row("multiplexed / nginx", if small { 1.2 } else { 0.6 }, nginx.address, mux);
        row("pooled / nginx", if small { 1.0 } else { 0.6 }, nginx.address, pooled);
        row("multiplexed / over serde_json::Value", if small { 0.0 } else { 2.0 }, over_tree, mux);
    }
}

/// Gives back the argument as the result.
#[derive(Debug)]
struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let mut result = call.payload.to_vec();
        result[1..3].copy_from_slice(&[0, 0]); // The argument is field 1, the result 0.
        Ok(Reply::new(result.into()))
    }
}

fn service() -> ServiceName {
    ServiceName::parse("Echo").expect("a name")
}

async fn serve_thrift() -> ThriftHost {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ThriftHost::serve(service(), any, Arc::new(Echo), HostOptions::default()).await.expect("binds")
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).expect("a socket");
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The echo that nginx proxies to.
async fn serve_http() -> SocketAddr {
    serve(Router::new().route("/Echo/echo", post(|body: Bytes| async { body }))).await
}

/// The same way over a tree: parse, walk, call, walk, write.
async fn serve_tree(at: SocketAddr, facts: Metadata) -> SocketAddr {
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller = Arc::new(ThriftCaller::new(policy, CallerOptions::default()));
    let address = Address::parse(&format!("thrift://{at}")).expect("an address");
    let idl = Arc::new(idl::parse(IDL).expect("an IDL"));
    let answer = move |body: Bytes| {
        let (caller, address, facts) = (Arc::clone(&caller), address.clone(), facts.clone());
        let idl = Arc::clone(&idl);
        async move {
            let function = idl.service("Echo").and_then(|s| s.function("echo")).expect("a method");
            let arguments = tree::write(&idl, function, &body);
            let mut peer = Peer::at(&address);
            peer.metadata = Some(&facts);
            let call = Call::new(service(), "echo", arguments.into());
            let reply = caller.call(peer, call).await.expect("an answer");
            Body::from(tree::read(&idl, function, &reply.payload))
        }
    };
    serve(Router::new().route("/Echo/echo", post(answer))).await
}

/// A gateway that knows the host, and is told how to speak to it.
async fn start(at: SocketAddr, facts: &serde_json::Value) -> (Gateway, SocketAddr) {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let flags = Flags {
        backend: Some("memory:".to_owned()),
        http: any,
        grpc: any,
        admin: any,
        ..Flags::default()
    };
    let config = Config::settle(flags).expect("settings");
    let gateway = Gateway::start(&config).await.expect("it starts");
    let registration = json!([{"OwnerName": "o", "OwnerId": "o", "Services": [
        {"ServiceName": "Echo", "IdlContent": IDL}]}]);
    let registered = http::post(gateway.http, "/register", &registration).await;
    let connection = json!({
        "ApiKey": registered["API-Key"], "ServiceName": "Echo", "ServerAddress": "127.0.0.1",
        "ServerPort": at.port().to_string(), "Metadata": facts,
    });
    http::post(gateway.http, "/connect", &connection).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let address = gateway.http;
    (gateway, address)
}
