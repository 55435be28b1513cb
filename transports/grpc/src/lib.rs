//! gRPC as a wire of Portolan.
//!
//! [`RegistryService`] and [`GrpcRegistry`] are the registry itself over gRPC.

#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
#[allow(clippy::use_self, clippy::needless_pass_by_value, rustdoc::all)]
mod generated {
    #[rustfmt::skip]
    pub mod easyops;
    #[rustfmt::skip]
    pub mod reverse;
    #[rustfmt::skip]
    pub mod v1;
}

mod caller;
mod channel;
pub mod descriptor;
mod direct;
mod easyops;
mod forward;
mod frames;
mod front;
mod gateway;
mod host;
mod incoming;
mod metadata;
mod registry;
mod reverse;
mod status;
mod timeout;
mod unary;

pub(crate) use self::generated::v1;
pub use crate::caller::{Elsewhere, ReverseCaller};
pub use crate::channel::{Security, channel, endpoint};
pub use crate::direct::GrpcCaller;
pub use crate::easyops::{
    EasyopsAuth, EasyopsRegistry, Ends, Here, Identity, PROBED_EVERY, STANDALONE, Upstreams,
};
pub use crate::forward::{ClusterSecret, FindGateway, Forwarded, Forwarder};
pub use crate::front::FrontDoor;
pub use crate::gateway::{Presence, Reception, ReverseService, Switchboard, SwitchboardOptions};
pub use crate::host::{GrpcHost, ReverseOptions, ReverseServer, ReverseState, RoutesHandler};
pub use crate::incoming::{Dispatch, Incoming};
pub use crate::registry::{GrpcRegistry, RegistryService, RemoteOptions};
pub use crate::status::{Told, application};
