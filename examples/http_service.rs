//! A service over HTTP, which anything that speaks HTTP can call, with its status server.
//!
//! ```console
//! $ cargo run --example http_service --features http,sqlite,status -- sqlite:portolan.db
//! $ curl -d '{"name":"Vasco"}' 127.0.0.1:4301/greeter/hello
//! $ curl 127.0.0.1:4300/internal/health
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use portolan::call::{Call, CallError, CallErrorKind, Handler, Reply};
use portolan::http::{HostOptions, HttpHost};
use portolan::status::{Status, StatusServer};
use portolan::{Client, ErrorKind, Service, ServiceName};
use serde_json::{Value, json};

#[derive(Debug)]
struct Greeter;

#[async_trait]
impl Handler for Greeter {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        if call.method != "hello" {
            return Err(CallError::new(CallErrorKind::UnknownMethod, "only hello is here"));
        }
        let argument: Value = serde_json::from_slice(&call.payload).map_err(|error| {
            CallError::new(ErrorKind::InvalidArgument.into(), format!("no JSON: {error}"))
        })?;
        let greeting = format!("Hello, {}!", argument["name"].as_str().unwrap_or("stranger"));
        let mut reply = Reply::new(json!({ "greeting": greeting }).to_string().into());
        reply.content_type = "application/json".to_owned();
        Ok(reply)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let client = Client::open(&url).await?;
    let name = ServiceName::parse("greeter")?;
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));

    let host = HttpHost::serve(name.clone(), here(4301), Arc::new(Greeter), HostOptions::default());
    let status = StatusServer::listen(here(4300), Status::of(name).build())?;
    let serving = Service::new("greeter")?
        .with_no_auth() // examples/identity.rs has one that asks who calls.
        .with_host(host.await?)
        .with_operator(status)
        .join(&client)?;
    serving.connected().await;
    println!("serving at 127.0.0.1:4301; Ctrl-C ends");
    Ok(serving.run().await?)
}
