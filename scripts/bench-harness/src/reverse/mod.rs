//! Calls over a stream that a service opened: against a bare `tonic` stream, a
//! bare `tonic` call, and nginx.
//!
//! The load, the service, and the gateway have one thread each.

#[allow(dead_code)] // The other gateway's rows use the rest.
#[path = "../gateway/http.rs"]
mod http;
#[path = "../gateway/nginx.rs"]
mod nginx;
mod idle;
mod keys;
mod tonic_echo;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use portolan::access::Credential;
use portolan::call::{Call, CallError, Caller, Handler, Peer, Reply};
use portolan::grpc::{
    Dispatch, Incoming, Presence, Reception, ReverseCaller, ReverseOptions, ReverseServer,
    ReverseService, Security, Switchboard, SwitchboardOptions, channel,
};
use portolan::{Address, InstanceSpec, ServiceName};
use portolan_gateway::config::Flags;
use portolan_gateway::{Config, Gateway};

use crate::calls::{Calling, Make, load, one_thread};
use crate::rounds::Table;

pub use idle::hold;

pub fn measure(table: &mut Table) {
    let (servers, clients, gateways) = (one_thread(), one_thread(), one_thread());
    let bare = servers.block_on(tonic_echo::serve());
    let stream = tonic_echo::streaming(&clients, bare);
    let unary = tonic_echo::unary(&clients, bare);

    // The gateway's half runs where the load is, as the client's half of the floor.
    let (switchboard, at, _serving) = clients.block_on(listen());
    let _service = servers.block_on(connect(at, "bench.Echo"));
    let ours = over(switchboard);
    for (size, shown) in [(128, "128 B"), (16 * 1024, "16 KiB")] {
        let payload = Bytes::from(vec![b'x'; size]);
        for loops in [1, 64] {
            let mut row = |name: &str, goal, floor: &Make, ours: &Make| {
                let name = format!("{name}, {shown}, {loops} at a time");
                let run = |make, calls| load(&clients, make, loops, &payload, calls);
                table.rate(&name, goal, |calls| run(floor, calls), |calls| run(ours, calls));
            };
            // 1.3 times the latency, where there is one call at a time.
            let goal = if loops == 1 { 1.0 / 1.3 } else { 0.7 };
            row("reverse stream / bare tonic stream", goal, &stream, &ours);
            let goal = if loops == 64 && size == 128 { 5.0 } else { 0.0 };
            row("reverse stream / bare tonic call", goal, &unary, &ours);
        }
    }

    let gateway = gateways.block_on(start());
    let _connected = servers.block_on(connect(gateway.grpc, "Echo"));
    let door = tonic_echo::unary_at(&clients, gateway.grpc, "/Echo/echo");
    let upstream = servers.block_on(serve_http());
    let nginx = nginx::Nginx::start(upstream);
    for (size, shown, goal) in [(128, "128 B", 1.3), (16 * 1024, "16 KiB", 0.7)] {
        let payload = Bytes::from(vec![b'x'; size]);
        let mut row = |name: &str, goal, floor: &Make, ours: &Make| {
            let name = format!("{name}, {shown}, 64 at a time");
            let run = |make, calls| load(&clients, make, 64, &payload, calls);
            table.rate(&name, goal, |calls| run(floor, calls), |calls| run(ours, calls));
        };
        let goal_of_door = if size == 128 { 0.6 } else { 0.0 };
        row("front door to a reverse stream / bare tonic call", goal_of_door, &unary, &door);
        let Some(nginx) = &nginx else {
            eprintln!("nginx is not installed: its rows are left out");
            continue;
        };
        let (floor, ours) = (http::calling(nginx.address), http::calling(gateway.http));
        row("HTTP to a reverse stream / nginx", goal, &floor, &ours);
    }
    keys::measure(table);
    idle::measure(table, &gateways, gateway.grpc);
}

/// Lets everybody in.
#[derive(Debug)]
struct Open;

struct Here;

#[async_trait::async_trait]
impl Reception for Open {
    async fn admit(&self, _: &Credential, _: &InstanceSpec) -> portolan::Result<()> {
        Ok(())
    }

    async fn may_stay(&self, _: &Credential, _: &[ServiceName]) -> portolan::Result<()> {
        Ok(())
    }

    async fn join(&self, _: InstanceSpec) -> Box<dyn Presence> {
        Box::new(Here)
    }

    async fn register(&self, _: &Credential, _: InstanceSpec) -> portolan::Result<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Presence for Here {
    async fn superseded(&mut self) {
        std::future::pending().await
    }
}

#[async_trait::async_trait]
impl Dispatch for Open {
    async fn dispatch(&self, _: Incoming) -> Result<Reply, CallError> {
        unreachable!("nobody calls up the stream")
    }
}

/// Gives back what it gets.
#[derive(Debug)]
struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        Ok(Reply::new(call.payload))
    }
}

/// The gateway's half alone.
async fn listen() -> (Switchboard, SocketAddr, tokio::task::JoinHandle<()>) {
    let switchboard = Switchboard::new("bench", SwitchboardOptions::default());
    let service = ReverseService::new(&switchboard, Arc::new(Open), Arc::new(Open));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(256 << 10)
            .add_service(service);
        server.serve_with_incoming(incoming.with_nodelay(Some(true))).await.expect("serves");
    });
    (switchboard, address, serving)
}

async fn connect(at: SocketAddr, service: &str) -> ReverseServer {
    let gateway = channel(&at.to_string(), &Security::Plaintext).expect("a channel");
    let services = vec![ServiceName::parse(service).expect("a name")];
    let options = ReverseOptions::default();
    let server = ReverseServer::start(services, vec![gateway], Arc::new(Echo), options);
    server.connected().await;
    server
}

struct Ours {
    caller: Arc<ReverseCaller>,
    service: ServiceName,
    address: Address,
}

impl Calling for Ours {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let call = Call::new(self.service.clone(), "echo", payload.clone())
                .with_timeout(Duration::from_secs(10));
            let reply = self.caller.call(Peer::at(&self.address), call).await;
            reply.expect("an answer").payload.len()
        })
    }
}

fn over(switchboard: Switchboard) -> Make {
    let caller = Arc::new(ReverseCaller::new(switchboard));
    Box::new(move || {
        let caller = Arc::clone(&caller);
        Box::pin(async move {
            let service = ServiceName::parse("bench.Echo").expect("a name");
            let address = Address::parse("reverse:bench/1").expect("an address");
            Box::new(Ours { caller, service, address }) as Box<dyn Calling>
        })
    })
}

async fn start() -> Gateway {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let flags = Flags {
        backend: Some("memory:".to_owned()),
        http: any,
        grpc: any,
        admin: any,
        ..Flags::default()
    };
    Gateway::start(&Config::settle(flags).expect("settings")).await.expect("it starts")
}

/// The echo that nginx proxies to.
async fn serve_http() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).expect("a socket");
    });
    let router = Router::new().route("/Echo/echo", post(|body: Bytes| async { body }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
