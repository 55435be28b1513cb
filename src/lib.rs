//! Portolan: a chart of services, who is healthy and how to reach them.
//!
//! One [`Registry`] trait, interchangeable backends chosen by URL, and a handle
//! for services: [`Client`] joins, stays alive, follows and leaves.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> portolan::Result<()> {
//! use portolan::{Address, Client, InstanceId, InstanceSpec, Offer, ServiceName};
//!
//! let client = Client::open("memory:").await?;
//! let service = ServiceName::parse("users")?;
//! let offer = Offer::new(service.clone(), Address::parse("thrift://10.0.0.7:9000")?);
//! let membership = client.join(InstanceSpec::new(InstanceId::parse("users-1")?, [offer]));
//! membership.connected().await;
//!
//! let view = client.follow(&service);
//! view.ready().await?;
//! assert_eq!(view.pick().map(|i| i.id.to_string()).as_deref(), Some("users-1"));
//! membership.leave().await;
//! # Ok(()) }
//! ```
//!
//! What it is not: a server. The `portolan` binary of the gateway is built on it.

pub mod adapters;
mod channel;
mod client;
mod clock;
#[cfg(feature = "identity")]
pub mod identity;
mod in_process;
mod keys;
mod membership;
mod open;
mod opener;
mod service;
#[cfg(feature = "status")]
pub mod status;
// Without a backend there is nobody to read all parts of a URL.
#[cfg_attr(not(feature = "memory"), allow(dead_code))]
mod url;
mod view;

#[cfg(feature = "status")]
use crate::status::usual_operator;

pub use registry_api::*;

pub use crate::channel::{
    Ask, Balance, BoundedHash, Breaker, Busy, Channel, ChannelOptions, Count, Counters, Ejection,
    Explanation, Hedge, Queue, Retry, Timeouts, Verdict, Wires, ZoneFirst,
};
pub use crate::client::{Client, ClientOptions, Resolved};
pub use crate::clock::SystemClock;
pub use crate::in_process::{InProcess, InProcessHost};
pub use crate::keys::{ApiKey, GuestAccess, Guests, KeyAccess, OpenAccess};
pub use crate::membership::{
    Declaration, DeclarationState, Membership, MembershipState, StopOptions,
};
pub use crate::open::{namespace_of, open, open_with, redact, schemes};
pub use crate::opener::Opener;
pub use crate::service::{CallCount, Operator, Order, Service, Serving};
pub use crate::view::{Followed, Picked, Probe, ServiceView, TcpProbe};
#[cfg(feature = "h2")]
pub use portolan_amqp as h2;
#[cfg(feature = "grpc")]
pub use portolan_grpc as grpc;
#[cfg(feature = "http")]
pub use portolan_http as http;
#[cfg(feature = "thrift")]
pub use portolan_thrift as thrift;

/// Nobody looks after a service that asks for nothing else.
#[cfg(not(feature = "status"))]
fn usual_operator(_: &ServiceName) -> Option<std::sync::Arc<dyn Operator>> {
    None
}
