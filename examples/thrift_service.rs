//! A service over Thrift that joins a registry, and a caller that finds it.
//!
//!     cargo run --example thrift_service --features thrift

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use portolan::call::{Call, Host};
use portolan::thrift::json::{self, Json, Style};
use portolan::thrift::{CallerOptions, HostOptions, JsonHandler, ThriftCaller, ThriftHost, idl};
use portolan::{
    AddressPolicy, ChannelOptions, Client, InstanceId, InstanceSpec, ServiceName, StopOptions,
};
use serde_json::json;

const IDL: &str = "service Greeter { string hello(1: string name) }";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::open("memory:").await?;
    let idl = Arc::new(idl::parse(IDL)?);
    let service = ServiceName::parse("Greeter")?;

    // The service: a function over JSON values, hosted on a free port. The
    // membership joins with what the host offers and keeps it joined.
    let hello = |_: &str, arguments: serde_json::Value| {
        Ok(json!(format!("Hello, {}!", arguments["name"].as_str().unwrap_or("stranger"))))
    };
    let handler = Arc::new(JsonHandler::new(Arc::clone(&idl), "Greeter", hello));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let host = ThriftHost::serve(service.clone(), any, handler, HostOptions::default()).await?;
    let id = InstanceId::parse("greeter-1")?;
    let membership = client.join(InstanceSpec::new(id, host.offers()));
    membership.connected().await;

    // The caller: a channel picks an instance, and the wire speaks to it the way
    // its offer asks for.
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller = Arc::new(ThriftCaller::new(policy, CallerOptions::default()));
    let channel = client.channel(&service, caller, ChannelOptions::default());
    let function = idl.service("Greeter").and_then(|s| s.function("hello")).ok_or("no method")?;
    let argument = json!({"name": "Vasco"});
    let payload = json::write_arguments(&idl, function, Json::Value(&argument))?;
    let reply = channel.call(Call::new(service, "hello", payload.into())).await?;
    let mut answer = Vec::new();
    json::read_result(&idl, function, &reply.payload, Style::default(), &mut answer)?;
    println!("{}", String::from_utf8(answer)?);

    // Stopping: callers see that it is draining, what is in flight finishes, and
    // then it leaves.
    membership.stop(Some(&host), StopOptions::default()).await?;
    Ok(())
}
