//! An ordinary tonic client over the instances of a service. The service here is
//! gRPC's health service, so that nothing has to be generated.
//!
//!     cargo run --example tonic_channel --features tonic

use std::net::Ipv4Addr;
use std::time::Duration;

use portolan::adapters::tonic::Balanced;
use portolan::{Address, Client, InstanceId, InstanceSpec, Membership, Offer, ServiceName};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Serves on a free port, and joins with it.
async fn start(
    client: &Client,
    service: &ServiceName,
    id: &str,
) -> Result<(Membership, JoinHandle<()>), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = Address::parse(&format!("grpc://{}", listener.local_addr()?))?;
    let (_, health) = tonic_health::server::health_reporter();
    let serving = Server::builder().add_service(health);
    let serving = serving.serve_with_incoming(TcpIncoming::from(listener));
    let task = tokio::spawn(async move {
        if let Err(error) = serving.await {
            eprintln!("the server ended: {error}");
        }
    });
    let offer = Offer::new(service.clone(), address);
    let membership = client.join(InstanceSpec::new(InstanceId::parse(id)?, [offer]));
    membership.connected().await;
    Ok((membership, task))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::open("memory:").await?;
    let service = ServiceName::parse("grpc.health.v1.Health")?;
    let (first, serving) = start(&client, &service, "first").await?;

    let balanced = Balanced::new(&client.follow(&service));
    let mut health = HealthClient::new(balanced.channel());
    let answer = health.check(HealthCheckRequest::default()).await?;
    println!("by the first: {:?}", answer.into_inner().status());

    // The first leaves and ends; the second takes over, and the client is the same.
    let (second, _serving) = start(&client, &service, "second").await?;
    first.leave().await?;
    tokio::time::sleep(Duration::from_millis(100)).await; // Until callers have seen it.
    serving.abort();
    let answer = health.check(HealthCheckRequest::default()).await?;
    println!("by the second: {:?}", answer.into_inner().status());
    second.leave().await?;
    Ok(())
}
