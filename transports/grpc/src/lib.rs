//! gRPC as a wire of Portolan.
//!
//! [`RegistryService`] and [`GrpcRegistry`] are the registry itself over gRPC.

#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
#[allow(clippy::use_self, clippy::needless_pass_by_value, rustdoc::all)]
mod generated {
    #[rustfmt::skip]
    pub mod reverse;
    #[rustfmt::skip]
    pub mod v1;
}

mod channel;
mod registry;
mod status;

pub(crate) use self::generated::v1;
pub use crate::channel::{Security, channel, endpoint};
pub use crate::registry::{GrpcRegistry, RegistryService, RemoteOptions};
