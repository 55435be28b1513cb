//! Other libraries' callers over a followed service.
#![allow(missing_docs, clippy::unwrap_used)]

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use portolan::adapters::tower::discover;
use portolan::adapters::{Change, Changes};
use portolan::{
    Address, Client, ClientOptions, Instance, InstanceId, InstanceSpec, LeaseTerms, Offer,
    RegistryExt, ServiceName,
};
use tower::balance::p2c::Balance;
use tower::load::Constant;
use tower::{Service, ServiceExt};

fn service() -> ServiceName {
    ServiceName::parse("s").unwrap()
}

fn spec(id: &str, weight: u32) -> InstanceSpec {
    let address = Address::parse(&format!("tcp://{id}:1")).unwrap();
    let offer = Offer::new(service(), address).with_weight(weight);
    let day = Duration::from_secs(24 * 3600);
    InstanceSpec::new(InstanceId::parse(id).unwrap(), [offer])
        .with_terms(LeaseTerms::new(day, day).unwrap())
}

async fn client() -> Client {
    Client::new(portolan::open("memory:").await.unwrap(), ClientOptions::default())
}

async fn join(client: &Client, id: &str, weight: u32) {
    client.registry().connect_one(spec(id, weight)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_tell_who_comes_changes_and_goes() {
    let client = client().await;
    join(&client, "a", 1).await;
    let mut changes = Changes::new(&client.follow(&service()));
    let told = async |changes: &mut Changes| match changes.next().await {
        Change::Come(key, instance) => format!("+{}{}", key.id, instance.offers[0].weight.0),
        Change::Gone(key) => format!("-{}", key.id),
    };
    assert_eq!(told(&mut changes).await, "+a1");
    join(&client, "b", 1).await;
    assert_eq!(told(&mut changes).await, "+b1");
    let epoch = client.registry().connect_one(spec("a", 7)).await.unwrap().epoch;
    // Another life of it, so the former goes, once the new one is there.
    assert_eq!((told(&mut changes).await, told(&mut changes).await), ("+a7".into(), "-a".into()));
    client.registry().connect_one(spec("a", 8).with_epoch(epoch)).await.unwrap();
    assert_eq!(told(&mut changes).await, "+a8");
    let left = portolan::InstanceRef { id: InstanceId::parse("a").unwrap(), epoch };
    client.registry().disconnect(&[left]).await.unwrap();
    assert_eq!(told(&mut changes).await, "-a");
}

/// A service that breaks: it fails to become ready, until it is made again.
struct Fragile {
    id: String,
    broken: bool,
}

impl Service<()> for Fragile {
    type Response = String;
    type Error = &'static str;
    type Future = Ready<Result<String, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(if self.broken { Err("broken") } else { Ok(()) })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.broken = true;
        ready(Ok(self.id.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_balancer_never_loses_an_instance_for_good() {
    let client = client().await;
    join(&client, "only", 1).await;
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let make = move |instance: &Instance| {
        count.fetch_add(1, Ordering::Relaxed);
        Constant::new(Fragile { id: instance.id.to_string(), broken: false }, 0_u32)
    };
    let mut balance = Balance::new(discover(&client.follow(&service()), make));
    for _ in 0..20 {
        assert_eq!(balance.ready().await.unwrap().call(()).await.unwrap(), "only");
    }
    assert_eq!(made.load(Ordering::Relaxed), 20, "it breaks after every call");
}

#[tokio::test(start_paused = true)]
async fn a_balancer_with_nobody_waits_for_somebody() {
    let client = client().await;
    let make = |instance: &Instance| {
        Constant::new(Fragile { id: instance.id.to_string(), broken: false }, 0_u32)
    };
    let mut balance = Balance::new(discover(&client.follow(&service()), make));
    let nobody =
        tokio::time::timeout(Duration::from_secs(60), ServiceExt::<()>::ready(&mut balance));
    assert!(nobody.await.is_err(), "there is nobody");
    join(&client, "late", 1).await;
    assert_eq!(balance.ready().await.unwrap().call(()).await.unwrap(), "late");
}
