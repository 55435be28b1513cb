//! A service over Thrift that joins a registry, and a caller that finds it.
//!
//!     cargo run --example thrift_service --features thrift

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use portolan::call::{Call, Caller, Host, Peer};
use portolan::thrift::json::{self, Json, Style};
use portolan::thrift::{CallerOptions, HostOptions, JsonHandler, ThriftCaller, ThriftHost, idl};
use portolan::{AddressPolicy, Client, InstanceId, InstanceSpec, ServiceName};
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

    // The caller: picks an instance and calls it the way its offer asks for.
    let view = client.follow(&service);
    view.ready().await?;
    let instance = view.pick().map(|picked| (*picked).clone()).ok_or("nobody is there")?;
    let peer = Peer::of(&instance, &service, |_| true).ok_or("it has no address")?;
    let function = idl.service("Greeter").and_then(|s| s.function("hello")).ok_or("no method")?;
    let argument = json!({"name": "Vasco"});
    let payload = json::write_arguments(&idl, function, Json::Value(&argument))?;
    let policy = AddressPolicy::new().allow_loopback(true);
    let caller = ThriftCaller::new(policy, CallerOptions::default());
    let reply = caller.call(peer, Call::new(service, "hello", payload.into())).await?;
    let mut answer = Vec::new();
    json::read_result(&idl, function, &reply.payload, Style::default(), &mut answer)?;
    println!("{}", String::from_utf8(answer)?);

    // Leaving: nobody new comes, then what is in flight is finished.
    membership.drain();
    membership.leave().await?;
    host.close().await;
    Ok(())
}
