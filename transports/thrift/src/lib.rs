//! Thrift as a wire of Portolan: strict binary protocol, framed or not, driven
//! by an IDL text at run time.
//!
//! [`idl::Descriptor`] is what an IDL text means, [`json`] turns JSON into
//! Thrift and back by it, [`ThriftCaller`] and [`ThriftHost`] are the two sides
//! of a connection.
//!
//! What it is not, yet: TTHeader, pooled and multiplexed connections, and the
//! registry's own verbs over Thrift.
//!
//! Protocol facts: Apache Thrift `doc/specs/thrift-binary-protocol.md` and
//! `thrift-rpc.md`.

mod caller;
mod host;
pub mod idl;
pub mod json;
mod wire;

pub use crate::caller::ThriftCaller;
pub use crate::host::{HostOptions, JsonError, JsonHandler, ThriftHost};

/// The largest message that is sent or read, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
