//! An ordinary `tonic` service, hosted unchanged behind a connection that it opens
//! itself: nothing has to reach it.
//!
//! With a gateway running (`cargo run --release -- gateway`), which any gRPC client then
//! calls at `/greeter.Greeter/SayHello`:
//!
//!     cargo run --example reverse_service --features grpc -- 127.0.0.1:50051 [API-KEY]

#[allow(warnings, clippy::all)]
#[rustfmt::skip]
#[path = "greeter/greeter.rs"]
mod greeter;

use std::sync::Arc;

use greeter::greeter_server::{Greeter, GreeterServer};
use greeter::{Hello, Reply};
use portolan::access::Credential;
use portolan::grpc::{ReverseOptions, ReverseServer, RoutesHandler, Security, channel};
use portolan::{Service, ServiceName};
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

struct Hellos;

#[tonic::async_trait]
impl Greeter for Hellos {
    async fn say_hello(&self, request: Request<Hello>) -> Result<Response<Reply>, Status> {
        let message = format!("hello {}", request.into_inner().name);
        Ok(Response::new(Reply { message }))
    }

    type RepeatStream = BoxStream<Reply>;

    async fn repeat(&self, _: Request<Hello>) -> Result<Response<BoxStream<Reply>>, Status> {
        Err(Status::unimplemented("once is enough"))
    }
}

#[tokio::main]
async fn main() -> portolan::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let gateway = arguments.next().unwrap_or_else(|| "127.0.0.1:50051".to_owned());
    let key = Credential::key(arguments.next().unwrap_or_default());
    let server = ReverseServer::start(
        vec![ServiceName::parse("greeter.Greeter")?],
        vec![channel(&gateway, &Security::Plaintext)?],
        Arc::new(RoutesHandler::new(Routes::new(GreeterServer::new(Hellos)))),
        ReverseOptions::default().with_credential(key),
    );
    server.connected().await;
    println!("connected to {gateway}; Ctrl-C ends");
    // The gateway joins the registry for it.
    Service::new("greeter.Greeter")?.with_no_auth().with_host(server).alone()?.run().await
}
