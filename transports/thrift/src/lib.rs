//! Thrift as a wire of Portolan: strict binary protocol in every framing that
//! Apache, Kitex and Volo peers use, driven by an IDL text at run time.
//!
//! [`idl::Descriptor`] is what an IDL text means, [`json`] turns JSON into
//! Thrift and back by it, [`ThriftCaller`] and [`ThriftHost`] are the two sides
//! of a connection.
//!
//! What it is not: the compact and JSON protocols, MeshHeader, TTHeader streams.
//!
//! Protocol facts: Apache Thrift `doc/specs/thrift-binary-protocol.md` and
//! `thrift-rpc.md`.

mod answer;
mod caller;
mod cancel;
#[cfg(test)]
mod fuzz;
mod host;
pub mod idl;
pub mod json;
mod link;
pub mod manner;
mod registry;
mod wire;

pub use crate::caller::{CallerOptions, ThriftCaller};
pub use crate::host::{Accept, HostOptions, JsonError, JsonHandler, ThriftHost};
pub use crate::link::{Dial, Stream, TcpDial};
pub use crate::registry::{RegistryHandler, RemoteOptions, ThriftRegistry};

/// The largest message that is sent or read, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
