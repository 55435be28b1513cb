//! The stream that a service opens to a gateway and is called over: what both
//! ends share.
//!
//! Facts: Opizontas-Studio/grpc_opizontas at b32ff22a, its `proto/registry.proto`
//! and `src/services/registry/`. Where the original does not do what its guide
//! promises, the guide counts.

pub(crate) mod message;
mod names;
pub(crate) mod outbox;

use std::fmt::{self, Debug};
use std::time::UNIX_EPOCH;

pub(crate) use self::names::{candidates, method_of, path_of, split};
pub(crate) use crate::generated::reverse as wire;

/// The path of the stream.
pub(crate) const ESTABLISH: &str = "/registry.RegistryService/EstablishConnection";
/// The path of what a service that can be dialled says of itself.
pub(crate) const REGISTER: &str = "/registry.RegistryService/Register";
/// The largest payload that is taken or sent.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;
/// The largest message: a payload, and what is said about it.
pub(crate) const MAX_MESSAGE: usize = MAX_PAYLOAD + 64 * 1024;
/// Metadata by which ends of this crate know each other: only they understand
/// cancellation, exact deadlines and kinds of failure.
pub(crate) const OURS: &str = "portolan-reverse";

/// The wall clock, for the people who read what is sent: nobody decides by it.
pub(crate) fn unix_seconds() -> i64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

impl Debug for wire::ConnectionMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionMessage(…)")
    }
}

impl Debug for wire::connection_message::MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageType(…)")
    }
}

impl Debug for wire::ConnectionRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionRegister")
            .field("services", &self.services)
            .field("connection_id", &self.connection_id)
            .finish_non_exhaustive()
    }
}

impl Debug for wire::RegisterRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterRequest")
            .field("address", &self.address)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}
