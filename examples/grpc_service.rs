//! An ordinary `tonic` service at a port, which joins a registry, says how it is, and
//! stops in order at Ctrl-C, SIGTERM or an order of its operator.
//!
//! ```console
//! $ cargo run --example grpc_service --features grpc,sqlite,status -- sqlite:portolan.db
//! $ curl 127.0.0.1:4300/internal/health
//! $ curl 127.0.0.1:4300/internal/pleaseshutdown
//! ```

#[allow(warnings, clippy::all)]
#[rustfmt::skip]
#[path = "greeter/greeter.rs"]
mod greeter;

use std::net::SocketAddr;

use greeter::greeter_server::{Greeter, GreeterServer};
use greeter::{Hello, Reply};
use portolan::grpc::GrpcHost;
use portolan::status::{Status, StatusServer};
use portolan::{Client, Service, ServiceName};
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status as Failure};

struct Hellos;

#[tonic::async_trait]
impl Greeter for Hellos {
    async fn say_hello(&self, request: Request<Hello>) -> Result<Response<Reply>, Failure> {
        Ok(Response::new(Reply { message: format!("hello {}", request.into_inner().name) }))
    }

    type RepeatStream = BoxStream<Reply>;

    async fn repeat(&self, _: Request<Hello>) -> Result<Response<BoxStream<Reply>>, Failure> {
        Err(Failure::unimplemented("once is enough"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let client = Client::open(&url).await?;
    let name = ServiceName::parse("greeter.Greeter")?;
    let routes = Routes::new(GreeterServer::new(Hellos));
    let host = GrpcHost::serve(vec![name.clone()], SocketAddr::from(([127, 0, 0, 1], 0)), routes);
    let status = Status::of(name).with_build("app_description", "says hello").build();
    let status = StatusServer::listen(SocketAddr::from(([127, 0, 0, 1], 4300)), status);
    let service = Service::new("greeter.Greeter")?.with_no_auth();
    let serving = service.with_host(host.await?).with_operator(status?).join(&client)?;
    serving.connected().await;
    println!("serving; http://127.0.0.1:4300/internal/help says more, Ctrl-C ends");
    Ok(serving.run().await?)
}
