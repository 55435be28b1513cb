//! Services of other versions than ours: the oldest that is in the field, and one
//! of tomorrow, which says what nobody knows yet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use conformance_tests::{Failure, check_eq};
use portolan::ServiceName;
use portolan::call::{Call, Caller, Peer};
use portolan::grpc::ReverseCaller;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::Desk;

/// What any version sends and takes, as bare as the oldest one knows it, and one
/// field more.
#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(message, optional, tag = "1")]
    register: Option<Register>,
    #[prost(message, optional, tag = "2")]
    request: Option<Request>,
    #[prost(message, optional, tag = "3")]
    response: Option<Response>,
    #[prost(string, tag = "99")]
    tomorrow: String,
}

#[derive(Clone, PartialEq, Message)]
struct Register {
    #[prost(string, tag = "1")]
    api_key: String,
    #[prost(string, repeated, tag = "2")]
    services: Vec<String>,
    #[prost(string, tag = "3")]
    connection_id: String,
    #[prost(string, tag = "99")]
    tomorrow: String,
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(string, tag = "2")]
    method_path: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "4")]
    payload: Vec<u8>,
    #[prost(int32, tag = "5")]
    timeout_seconds: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(int32, tag = "2")]
    status_code: i32,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "4")]
    payload: Vec<u8>,
    #[prost(string, tag = "5")]
    error_message: String,
    #[prost(string, tag = "99")]
    tomorrow: String,
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// A foreign service of each version connects and is called.
pub(super) async fn answer_calls(
    gateway: SocketAddr,
    desk: &Desk,
    caller: &ReverseCaller,
) -> Result<(), Failure> {
    for (version, tomorrow, ok) in [("older", "", 200), ("newer", "unheard of", 0)] {
        let mut service = JoinSet::new();
        service.spawn(serve(gateway, format!("{version}.Echo"), tomorrow.to_owned(), ok));
        let wanted = ServiceName::parse(&format!("{version}.Echo"))?;
        let mut spec = None;
        for _ in 0..200 {
            spec = desk.newest_of(&wanted);
            if spec.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let spec = spec.ok_or_else(|| failure(format!("the {version} service is not let in")))?;
        let call = Call::new(wanted.clone(), "Say", "hello".into()).with_header("k", "v");
        let reply = caller.call(Peer::at(&spec.offers[0].addresses[0]), call).await;
        let reply = reply.map_err(|error| failure(format!("the {version} service: {error:?}")))?;
        let expected = format!("/{version}.Echo/Say v hello");
        check_eq(&String::from_utf8_lossy(&reply.payload).into_owned(), &expected, "its answer")?;
    }
    Ok(())
}

/// Registers, and says of every call what it was.
async fn serve(gateway: SocketAddr, name: String, tomorrow: String, ok: i32) {
    let endpoint = Endpoint::from_shared(format!("http://{gateway}")).expect("an endpoint");
    let mut client = Grpc::new(endpoint.connect().await.expect("a gateway"));
    client.ready().await.expect("it is ready");
    let (say, mut said) = mpsc::unbounded_channel();
    let register =
        Register { services: vec![name], tomorrow: tomorrow.clone(), ..Register::default() };
    say.send(Said { register: Some(register), ..Said::default() }).expect("it is taken");
    let path =
        http::uri::PathAndQuery::from_static("/registry.RegistryService/EstablishConnection");
    let stream = futures_util::stream::poll_fn(move |cx| said.poll_recv(cx));
    let codec = ProstCodec::<Said, Said>::default();
    let answer = client.streaming(tonic::Request::new(stream), path, codec).await;
    let mut heard = answer.expect("it is let in").into_inner();
    while let Ok(Some(message)) = heard.message().await {
        let Some(request) = message.request else { continue };
        let header = request.headers.get("k").cloned().unwrap_or_default();
        let payload = String::from_utf8_lossy(&request.payload).into_owned();
        let response = Response {
            request_id: request.request_id,
            status_code: ok,
            payload: format!("{} {header} {payload}", request.method_path).into_bytes(),
            tomorrow: tomorrow.clone(),
            ..Response::default()
        };
        let message =
            Said { response: Some(response), tomorrow: tomorrow.clone(), ..Said::default() };
        say.send(message).expect("it is taken");
    }
}
