//! A service that asks who calls: a user without the role is refused, one with it is not.
//!
//!     cargo run --example identity --features http,identity

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portolan::call::{Call, CallError, Handler, Reply, Subject};
use portolan::http::{HostOptions, HttpCaller, HttpHost};
use portolan::identity::{Authority, Signed, Verifier};
use portolan::{AddressPolicy, ChannelOptions, Client, Service, ServiceName};

#[derive(Debug)]
struct Accounts;

#[async_trait]
impl Handler for Accounts {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let who = call.identity.map(|identity| identity.subject.to_string()).unwrap_or_default();
        Ok(Reply::new(format!("{} by {who}", call.method).into()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Once for the estate: `portolan identity` keeps it in a file.
    let authority = Authority::generate()?;
    let client = Client::open("memory:").await?;
    let name = ServiceName::parse("accounts")?;

    let verifier = Verifier::trusting([authority.key()]).with_role("close", "manager");
    let handler = Arc::new(verifier).protect(Arc::new(Accounts));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let host = HttpHost::serve(name.clone(), any, handler, HostOptions::default()).await?;
    let serving = Service::new("accounts")?.with_host(host).join(&client)?;
    serving.connected().await;
    serving.ready();

    for user in [Subject::user("bob"), Subject::user("ada").with_role("manager")] {
        let passport = Arc::new(authority.issue(&user, Duration::from_secs(3600))?);
        let http = HttpCaller::new(AddressPolicy::new().allow_loopback(true));
        let caller = Arc::new(Signed::new(Arc::new(http), passport));
        let channel = client.channel(&name, caller, ChannelOptions::default());
        for method in ["read", "close"] {
            match channel.call(Call::new(name.clone(), method, Bytes::new())).await {
                Ok(reply) => println!("{}", String::from_utf8_lossy(&reply.payload)),
                Err(refused) => println!("{method} by {user}: {refused}"),
            }
        }
    }
    Ok(serving.stop().await?)
}
