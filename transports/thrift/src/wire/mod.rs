//! Bytes: the strict binary protocol and the two ways messages are delimited.

mod binary;
mod frame;
mod message;
mod walk;

pub(crate) use self::binary::{DEPTH, Reader, WireError, Writer, kind};
pub(crate) use self::frame::{Framing, read_message, write_message};
pub(crate) use self::message::{Application, Message, MessageType};
