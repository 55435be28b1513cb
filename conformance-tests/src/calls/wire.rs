//! What the transport suite runs against.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::ServiceName;
use registry_api::call::{Caller, Handler, Host};

use super::Need;
use crate::failure::Failure;
use crate::target::Absent;

/// A wire: a way to call a handler that is elsewhere.
#[async_trait]
pub trait Wire: Debug + Send + Sync + 'static {
    /// The name in reports and filters, for example `thrift`.
    fn name(&self) -> &str;

    /// Whether it has a property that some cases need.
    fn has(&self, need: Need) -> bool;

    /// A world of its own for one case.
    async fn open(&self) -> Result<Box<dyn WireWorld>, Absent>;
}

/// One caller and the hosts it can reach.
#[async_trait]
pub trait WireWorld: Send + Sync + 'static {
    /// Serves a handler that takes at most so many calls at a time.
    async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> Result<Box<dyn Host>, Failure>;

    /// The caller; the same for the whole case.
    fn caller(&self) -> Arc<dyn Caller>;

    /// Cuts every connection that is open; new ones can be made. Asked only of a
    /// wire with a link.
    async fn cut(&self);

    /// Calls `echo` with the payload of `probe` as a peer of an older version
    /// does, and as one of a newer, which says more than anybody here knows.
    /// Fails unless both get their answer. Asked only of a wire with a link.
    async fn other_versions(&self, host: &dyn Host) -> Result<(), Failure>;
}
