//! tower's own balancer over the instances of a service.
//!
//!     cargo run --example tower_discover --features tower

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use portolan::adapters::tower::discover;
use portolan::{Address, Client, Instance, InstanceId, InstanceSpec, Offer, ServiceName};
use tower::balance::p2c::Balance;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::{Service, ServiceExt};

/// What is made of an instance: in earnest, an HTTP client for its address.
struct Greeter(String);

impl Service<String> for Greeter {
    type Response = String;
    type Error = Infallible;
    type Future = Ready<Result<String, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: String) -> Self::Future {
        ready(Ok(format!("Hello, {name}! I am {}.", self.0)))
    }
}

#[tokio::main]
async fn main() -> Result<(), tower::BoxError> {
    let client = Client::open("memory:").await?;
    let service = ServiceName::parse("greeter")?;
    let join = |id: &str| -> portolan::Result<_> {
        let address = Address::parse(&format!("http://{id}.example:80"))?;
        let offer = Offer::new(service.clone(), address);
        Ok(client.join(InstanceSpec::new(InstanceId::parse(id)?, [offer])))
    };
    let first = join("first")?;
    first.connected().await;

    // The balancer is told who comes and goes, for as long as it lives.
    let make = |instance: &Instance| {
        let greeter = Greeter(instance.id.to_string());
        PendingRequests::new(greeter, CompleteOnResponse::default())
    };
    let mut balance = Balance::new(discover(&client.follow(&service), make));
    println!("{}", balance.ready().await?.call("Vasco".to_owned()).await?);

    let second = join("second")?;
    second.connected().await;
    first.leave().await?;
    tokio::time::sleep(Duration::from_millis(100)).await; // Until callers have seen it.
    println!("{}", balance.ready().await?.call("Bartolomeu".to_owned()).await?);
    second.leave().await?;
    Ok(())
}
