//! The registry itself over gRPC: `proto/portolan/v1/registry.proto`.
//!
//! [`RegistryService`] answers with registries of this process,
//! [`GrpcRegistry`] is a registry that is elsewhere.

mod model;
mod remote;
mod server;
mod watching;
mod who;

pub(crate) use self::model::Form;
pub use self::remote::{GrpcRegistry, RemoteOptions};
pub use self::server::RegistryService;
pub(crate) use self::who::{Who, bearer};

/// The largest question: a batch of ten thousand ordinary instances fits often.
const MAX_QUESTION: usize = 16 << 20;
/// The largest answer.
const MAX_ANSWER: usize = 64 << 20;
/// The largest question of somebody whose key is not known.
const MAX_UNPROVEN: usize = 64 * 1024;
