//! `tonic` without anything of ours: a call, and a stream that carries calls with
//! an id each, a task and a deadline.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::calls::{Calling, Make};

/// `ForwardRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Asked {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(string, tag = "2")]
    method_path: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
    #[prost(int32, tag = "5")]
    timeout_seconds: i32,
}

/// `ForwardResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Answered {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(int32, tag = "2")]
    status_code: i32,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
}

/// What a call carries where there is no envelope: opaque bytes.
#[derive(Clone, PartialEq, Message)]
pub struct Raw {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bare.Echo";
}

struct Unary;

impl tonic::server::UnaryService<Raw> for Unary {
    type Response = Raw;
    type Future = BoxFuture<'static, Result<Response<Raw>, Status>>;

    fn call(&mut self, request: Request<Raw>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

struct Stream;

impl tonic::server::StreamingService<Asked> for Stream {
    type Response = Answered;
    type ResponseStream = BoxStream<'static, Result<Answered, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Asked>>) -> Self::Future {
        let answers = request.into_inner().map(|asked| {
            let asked = asked?;
            Ok(Answered {
                request_id: asked.request_id,
                status_code: 200,
                headers: HashMap::new(),
                payload: asked.payload,
            })
        });
        Box::pin(async move { Ok(Response::new(answers.boxed())) })
    }
}

impl tower::Service<axum::http::Request<Body>> for Echo {
    type Response = axum::http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path().ends_with("stream") {
                let codec = ProstCodec::<Answered, Asked>::default();
                return Ok(tonic::server::Grpc::new(codec).streaming(Stream, request).await);
            }
            let codec = ProstCodec::<Raw, Raw>::default();
            Ok(tonic::server::Grpc::new(codec).unary(Unary, request).await)
        })
    }
}

pub async fn serve() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(Echo);
        server.serve_with_incoming(incoming.with_nodelay(Some(true))).await.expect("serves");
    });
    address
}

fn channel(clients: &Runtime, at: SocketAddr) -> Channel {
    let _entered = clients.enter();
    let endpoint = Endpoint::from_shared(format!("http://{at}")).expect("an endpoint");
    endpoint.tcp_nodelay(true).connect_lazy()
}

struct Call(Grpc<Channel>, PathAndQuery);

impl Calling for Call {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            self.0.ready().await.expect("ready");
            let codec = ProstCodec::<Raw, Raw>::default();
            let request = Request::new(Raw { bytes: payload.clone() });
            let answer = self.0.unary(request, self.1.clone(), codec).await;
            answer.expect("an answer").into_inner().bytes.len()
        })
    }
}

/// One channel for all loops.
pub fn unary(clients: &Runtime, at: SocketAddr) -> Make {
    unary_at(clients, at, "/bare.Echo/call")
}

pub fn unary_at(clients: &Runtime, at: SocketAddr, path: &'static str) -> Make {
    let channel = channel(clients, at);
    Box::new(move || {
        let (client, path) = (Grpc::new(channel.clone()), PathAndQuery::from_static(path));
        Box::pin(async move { Box::new(Call(client, path)) as Box<dyn Calling> })
    })
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>;

#[derive(Clone)]
struct Over {
    say: mpsc::UnboundedSender<Asked>,
    waiting: Waiting,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Calling for Over {
    fn call<'a>(&'a mut self, payload: &'a Bytes) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (caller, answer) = oneshot::channel();
            let request_id = number.to_string();
            self.waiting.lock().expect("whole").insert(request_id.clone(), caller);
            let asked = Asked {
                request_id,
                method_path: "/bare.Echo/call".to_owned(),
                headers: HashMap::new(),
                payload: payload.clone(),
                timeout_seconds: 10,
            };
            self.say.send(asked).expect("the stream is open");
            let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
            answer.expect("in time").expect("an answer").len()
        })
    }
}

/// One stream for all loops.
pub fn streaming(clients: &Runtime, at: SocketAddr) -> Make {
    let channel = channel(clients, at);
    let over = clients.block_on(async move {
        let (say, mut said) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        let mut client = Grpc::new(channel);
        client.ready().await.expect("ready");
        let asked = futures_util::stream::poll_fn(move |cx| said.poll_recv(cx));
        let path = PathAndQuery::from_static("/bare.Echo/stream");
        let codec = ProstCodec::<Asked, Answered>::default();
        let answers = client.streaming(Request::new(asked), path, codec).await;
        let mut answers = answers.expect("a stream").into_inner();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                let caller = answered.lock().expect("whole").remove(&answer.request_id);
                if let Some(caller) = caller {
                    let _ = caller.send(answer.payload);
                }
            }
        });
        Over { say, waiting, next: Arc::default() }
    });
    Box::new(move || {
        let over = over.clone();
        Box::pin(async move { Box::new(over) as Box<dyn Calling> })
    })
}
