//! Join, be found, leave: the whole life of an instance.
//!
//! `cargo run --example hello`

use portolan::{
    Address, Client, InstanceId, InstanceSpec, Offer, Result, ServiceName, StopOptions,
};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::open("memory:").await?;
    let service = ServiceName::parse("hello")?;

    // What this process offers, and where. It beats by itself from now on.
    let offer = Offer::new(service.clone(), Address::parse("thrift://10.0.0.7:9000")?);
    let membership = client.join(InstanceSpec::new(InstanceId::parse("hello-1")?, [offer]));
    let Some(lease) = membership.connected().await else {
        println!("somebody else lives under this id");
        return Ok(());
    };
    println!(
        "joined under epoch {}, beating every {:?}",
        lease.epoch,
        lease.terms.heartbeat_interval()
    );

    // What a caller does: follow once, pick for each call.
    let view = client.follow(&service);
    view.ready().await?;
    if let Some(picked) = view.pick() {
        println!("call {} at {:?}", picked.id, picked.offers[0].addresses[0]);
    }

    // Before going: callers are told, what is in flight finishes, and it leaves.
    // A service with a host of its own hands it over here.
    membership.stop(None, StopOptions::default()).await
}
