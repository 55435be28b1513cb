//! The wires of this project as the transport suite sees them.

pub(crate) mod amqp;
pub(crate) mod http;
pub(crate) mod in_process;
pub(crate) mod proxy;
pub(crate) mod reverse;
pub(crate) mod thrift;
