//! The hello service of Hailo H2's guide, written in Rust: it finds discovery at its
//! broker, as every service of H2 does, and is called like them.
//!
//! With a RabbitMQ, and a gateway that is discovery there
//! (`cargo run --release -- gateway --amqp amqp://guest:guest@127.0.0.1/`):
//!
//! ```console
//! $ cargo run --example h2_service --features h2 -- amqp://guest:guest@127.0.0.1/
//! $ curl -d 'service=com.hailocab.service.example&endpoint=hello' 127.0.0.1:4200/rpc
//! ```

use std::time::Duration;

use portolan::h2::{Asked, Broker, Endpoint, PlatformError, Rule, Service};
use prost::Message;
use serde::{Deserialize, Serialize};

/// What prost-build makes of the guide's `hello.proto`, with serde for JSON.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct Request {}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct Response {
    #[prost(string, optional, tag = "1")]
    message: Option<String>,
}

async fn hello(_: Asked<Request>) -> Result<Response, PlatformError> {
    Ok(Response { message: Some("Hello World".to_owned()) })
}

#[tokio::main]
async fn main() -> portolan::Result<()> {
    let url = std::env::args().nth(1);
    let broker = Broker::parse(url.as_deref().unwrap_or("amqp://hailo:hailo@localhost:5672/"))?;
    let hello = Endpoint::new("hello", hello)
        .with_sla(Duration::from_millis(500), Duration::from_secs(1))
        .with_rule(Rule::Open); // For everybody: without it, for the role ADMIN.
    let running = Service::new("com.hailocab.service.example")
        .with_description("Says hello")
        .with_version(20_261_127_120_000)
        .with_endpoint(hello)
        .run(broker)
        .await?;
    running.registered().await;
    println!("{} is registered; Ctrl-C ends", running.instance());
    let _ = tokio::signal::ctrl_c().await; // Ends in any case.
    running.stop().await;
    Ok(())
}
