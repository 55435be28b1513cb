//! Who operates a service: sees how it is, and gives orders.

use std::fmt::Debug;

use async_trait::async_trait;
use registry_api::Phase;

use crate::client::Client;

/// Something beside a service that its operator uses, like a status server.
#[async_trait]
pub trait Operator: Debug + Send + Sync + 'static {
    /// What it adds to the metadata of all that is offered.
    fn tags(&self) -> Vec<(String, String)>;

    /// The service joins through this client.
    fn joined(&self, client: &Client);

    /// The service says this of itself.
    fn sees(&self, phase: Phase);

    /// Returns once at least this was ordered.
    async fn ordered(&self, least: Order);
}

/// What an operator orders; a later one includes the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Order {
    /// Say that it drains, and go on.
    Drain,
    /// Drain, and end.
    Stop,
}
