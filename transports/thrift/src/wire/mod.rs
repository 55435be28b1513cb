//! Bytes: the strict binary protocol and the ways messages are delimited.

mod binary;
mod frame;
mod header;
mod message;
mod walk;

pub(crate) use self::binary::{DEPTH, Reader, WireError, Writer, kind};
pub(crate) use self::frame::{Framing, Packet, Splitter, append, append_head};
pub(crate) use self::header::Header;
pub(crate) use self::message::{Application, Message, MessageType};
