//! Calls over HTTP against the same libraries without us: axum's echo, hyper's pool.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portolan::call::{Call, Caller, Peer};
use portolan::http::{HostOptions, HttpCaller, HttpHost};
use portolan::{Address, AddressPolicy};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::{Calling, Echo, Make, load, one_thread, service};
use crate::rounds::Table;

pub fn measure(table: &mut Table) {
    let (servers, clients) = (one_thread(), one_thread());
    let bare = bare(&clients, servers.block_on(serve_bare()));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let host = HttpHost::serve(service(), any, Arc::new(Echo), HostOptions::default());
    let host = servers.block_on(host).expect("it binds");
    let ours = ours(&clients, host.local_addr());
    for (size, shown) in [(128, "128 B"), (16 * 1024, "16 KiB")] {
        let payload = Bytes::from(vec![b'x'; size]);
        for loops in [1, 64] {
            let run = |make, calls| load(&clients, make, loops, &payload, calls);
            let name = format!("http / bare axum and hyper, {shown}, {loops} at a time");
            table.rate(&name, 0.8, |calls| run(&bare, calls), |calls| run(&ours, calls));
        }
    }
}

async fn serve_bare() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("it binds");
    let address = listener.local_addr().expect("bound");
    let echo = Router::new().route("/EchoService/echo", post(|body: Bytes| async move { body }));
    tokio::spawn(async move { axum::serve(listener, echo).await });
    address
}

struct Bare(Client<HttpConnector, Full<Bytes>>, String);

impl Calling for Bare {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let request = http::Request::post(&self.1).body(Full::new(payload.clone()));
            let answer = self.0.request(request.expect("a request")).await.expect("an answer");
            answer.into_body().collect().await.expect("a body").to_bytes().len()
        })
    }
}

fn bare(clients: &Runtime, at: SocketAddr) -> Make {
    let _entered = clients.enter();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let uri = format!("http://{at}/EchoService/echo");
    Box::new(move || {
        let (client, uri) = (client.clone(), uri.clone());
        Box::pin(async move { Box::new(Bare(client, uri)) as Box<dyn Calling> })
    })
}

struct Ours(Arc<HttpCaller>, Address);

impl Calling for Ours {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let call = Call::new(service(), "echo", payload.clone());
            let reply = self.0.call(Peer::at(&self.1), call).await;
            reply.expect("an answer").payload.len()
        })
    }
}

fn ours(clients: &Runtime, at: SocketAddr) -> Make {
    let _entered = clients.enter();
    let caller = Arc::new(HttpCaller::new(AddressPolicy::new().allow_loopback(true)));
    let address = Address::parse(&format!("http://{at}")).expect("an address");
    Box::new(move || {
        let (caller, address) = (Arc::clone(&caller), address.clone());
        Box::pin(async move { Box::new(Ours(caller, address)) as Box<dyn Calling> })
    })
}
