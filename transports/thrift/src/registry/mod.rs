//! The registry itself over Thrift: `idl/registry.thrift`.
//!
//! [`RegistryHandler`] answers with a registry of this process,
//! [`ThriftRegistry`] is a registry that is elsewhere.

mod error;
mod handler;
mod model;
mod record;
mod remote;
mod watches;
mod watching;

pub use self::handler::RegistryHandler;
pub use self::remote::{RemoteOptions, ThriftRegistry};

/// The service of the IDL.
const SERVICE: &str = "Registry";
/// The largest question: a batch of ten thousand ordinary instances fits often.
const MAX_QUESTION: usize = 16 << 20;
/// The largest answer.
const MAX_ANSWER: usize = 64 << 20;
/// The largest question of somebody who has not yet had an answer.
const MAX_UNPROVEN: usize = 64 * 1024;
