//! An ordinary `tonic` service, hosted unchanged over a reverse stream and called
//! by an ordinary `tonic` client.

#[allow(warnings, clippy::all)]
#[rustfmt::skip]
#[path = "../../../examples/greeter/greeter.rs"]
mod greeter;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use greeter::greeter_client::GreeterClient;
use greeter::greeter_server::{Greeter, GreeterServer};
use greeter::{Hello, Reply};
use portolan::call::{Call, CallError, Handler, Host, Reply as CallReply};
use portolan::grpc::{
    ReverseOptions, ReverseServer, ReverseState, RoutesHandler, Security, channel,
};
use portolan::{Clock, ServiceName, SystemClock};
use tokio::time::timeout;
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::connect::{gateway_at, open_gateway};

#[derive(Default)]
struct Hellos {
    made: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Greeter for Hellos {
    async fn say_hello(&self, request: Request<Hello>) -> Result<Response<Reply>, Status> {
        let tenant = request.metadata().get("x-tenant").cloned();
        let name = request.into_inner().name;
        if name.is_empty() {
            return Err(Status::invalid_argument("name: must be there"));
        }
        let mut response = Response::new(Reply { message: format!("hello {name}") });
        if let Some(tenant) = tenant {
            response.metadata_mut().insert("x-tenant", tenant);
        }
        Ok(response)
    }

    type RepeatStream = BoxStream<Reply>;

    async fn repeat(&self, request: Request<Hello>) -> Result<Response<BoxStream<Reply>>, Status> {
        let Hello { name, times } = request.into_inner();
        let made = Arc::clone(&self.made);
        let replies = stream::iter(0..times).map(move |time| {
            made.fetch_add(1, Ordering::SeqCst);
            match time {
                1000 => Err(Status::data_loss("no more")),
                time => Ok(Reply { message: format!("{name} {time}") }),
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

async fn host(gateway: SocketAddr, hellos: Hellos) -> (ReverseServer, GreeterClient<Channel>) {
    let to = || channel(&gateway.to_string(), &Security::Plaintext).unwrap();
    let server = ReverseServer::start(
        vec![ServiceName::parse("greeter.Greeter").unwrap()],
        vec![to()],
        Arc::new(RoutesHandler::new(Routes::new(GreeterServer::new(hellos)))),
        ReverseOptions::default(),
    );
    server.connected().await;
    (server, GreeterClient::new(to()))
}

fn hello(name: &str, times: u32) -> Hello {
    Hello { name: name.to_owned(), times }
}

#[tokio::test]
async fn a_greeter_is_hosted_unchanged() {
    let gateway = open_gateway().await;
    let (server, mut client) = host(gateway.grpc, Hellos::default()).await;
    let mut request = Request::new(hello("you", 0));
    request.metadata_mut().insert("x-tenant", "blue".parse().unwrap());
    let answer = client.say_hello(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-tenant").unwrap(), "blue");
    assert_eq!(answer.into_inner().message, "hello you");
    let refused = client.say_hello(hello("", 0)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "name: must be there"));
    server.close().await;
    let gone = client.say_hello(hello("you", 0)).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable);
    gateway.stop().await;
}

/// Takes calls, and never ends one.
#[derive(Debug, Default)]
struct Stuck(tokio::sync::Notify);

#[async_trait::async_trait]
impl Handler for Stuck {
    async fn handle(&self, _: Call) -> Result<CallReply, CallError> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn who_is_dropped_is_gone_at_once_and_so_are_its_calls() {
    let gateway = open_gateway().await;
    let stuck = Arc::new(Stuck::default());
    let handler: Arc<Stuck> = Arc::clone(&stuck);
    let door = channel(&gateway.grpc.to_string(), &Security::Plaintext).unwrap();
    let service = vec![ServiceName::parse("stuck.Service").unwrap()];
    let server = ReverseServer::start(service, vec![door], handler, ReverseOptions::default());
    server.connected().await;
    let at = gateway.grpc;
    let call = || async move { super::peer::call(at, "/stuck.Service/Wait", &[], b"").await };
    let waiting = tokio::spawn(call());
    stuck.0.notified().await;
    drop(server);
    let ended = timeout(Duration::from_secs(2), waiting).await;
    assert!(ended.expect("the gateway is not told").unwrap().is_err());
    let next = timeout(Duration::from_secs(2), call()).await;
    assert!(next.expect("the gateway goes on calling nobody").is_err());
    gateway.stop().await;
}

#[tokio::test]
async fn results_are_streamed_to_their_end_or_their_error() {
    let gateway = open_gateway().await;
    let (_server, mut client) = host(gateway.grpc, Hellos::default()).await;
    for times in [1, 2, 500] {
        let answers = client.repeat(hello("r", times)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(|reply| reply.unwrap().message).collect().await;
        let expected: Vec<_> = (0..times).map(|time| format!("r {time}")).collect();
        assert_eq!(answers, expected);
    }
    let answers = client.repeat(hello("r", 2000)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect().await;
    assert_eq!(answers.len(), 1001);
    assert_eq!(answers[1000].as_ref().unwrap_err().code(), Code::DataLoss);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_waits_and_one_that_is_dropped_ends() {
    let gateway = open_gateway().await;
    let hellos = Hellos::default();
    let made = Arc::clone(&hellos.made);
    let (_server, mut client) = host(gateway.grpc, hellos).await;
    let name = "x".repeat(64 * 1024);
    let mut unread = client.repeat(hello(&name, 1_000_000)).await.unwrap().into_inner();
    unread.next().await.unwrap().unwrap();
    // Others are not delayed by it.
    for _ in 0..20 {
        let answer = timeout(Duration::from_secs(5), client.say_hello(hello("you", 0))).await;
        assert_eq!(answer.unwrap().unwrap().into_inner().message, "hello you");
    }
    let before = made.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stalled = made.load(Ordering::SeqCst);
    assert!(stalled < 1000 && stalled <= before + 300, "{before} {stalled}: nobody reads it");
    drop(unread);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = made.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(made.load(Ordering::SeqCst), ended, "it goes on although nobody reads it");
    assert!(client.say_hello(hello("you", 0)).await.is_ok());
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_that_dies_and_is_back_finds_everybody_again_and_not_at_once() {
    const HOSTS: usize = 100;
    let first = open_gateway().await;
    let at = first.grpc;
    let hosting = (0..HOSTS).map(|_| host(at, Hellos::default()));
    let hosts = futures_util::future::join_all(hosting).await;
    let mut states: Vec<_> = hosts.iter().map(|(server, _)| server.states()[0].clone()).collect();
    drop(first);
    let lost = |state: &ReverseState| matches!(state, ReverseState::Connecting { .. });
    for state in &mut states {
        timeout(Duration::from_secs(10), state.wait_for(lost)).await.unwrap().unwrap();
    }
    // Long enough for delays to have grown.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = gateway_at(at).await;
    let clock = SystemClock;
    let begun = clock.now();
    let back = states.iter_mut().map(|state| async {
        let there = |state: &ReverseState| matches!(state, ReverseState::Connected(_));
        timeout(Duration::from_secs(20), state.wait_for(there)).await.unwrap().unwrap();
        clock.now().since(begun)
    });
    let mut back = futures_util::future::join_all(back).await;
    back.sort();
    // Full jitter up to a few seconds: half of them do not come within an instant.
    let half = back[HOSTS * 3 / 4] - back[HOSTS / 4];
    assert!(half > Duration::from_millis(200), "they come together: {back:?}");
    let mut client = GreeterClient::new(channel(&at.to_string(), &Security::Plaintext).unwrap());
    assert!(client.say_hello(hello("you", 0)).await.is_ok());
    again.stop().await;
}
