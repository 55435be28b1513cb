//! Connections: how they are made, and how bytes go over them.

mod dial;
mod duplex;
mod inbox;
mod mux;
mod outbox;
mod output;
mod peers;
mod ping_pong;
mod pool;

pub use self::dial::{Dial, Stream, TcpDial};
pub(crate) use self::duplex::{Duplex, Event};
pub(crate) use self::outbox::{Outbox, room};
pub(crate) use self::output::Output;
pub(crate) use self::peers::Peers;

use bytes::BytesMut;
use registry_api::ErrorKind;
use registry_api::call::{Call, CallError, CallErrorKind};

use crate::wire::{Framing, Header, Message, MessageType, WireError, append};

/// How a peer is spoken to, as its offer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) framing: Framing,
    pub(crate) multiplex: bool,
    pub(crate) cancel: bool,
}

/// One question on its way: what is the same on every kind of connection.
pub(crate) struct Question<'a> {
    pub(crate) call: &'a Call,
    pub(crate) manner: Manner,
    pub(crate) header: Header,
    /// The largest message, either way.
    pub(crate) limit: usize,
}

impl<'a> Question<'a> {
    pub(crate) fn new(call: &'a Call, manner: Manner, limit: usize) -> Self {
        let header = match manner.framing {
            Framing::Header { .. } => Header {
                timeout: Some(call.time_left()),
                service: Some(call.service.as_str().to_owned()),
                headers: call.headers.clone(),
            },
            Framing::Framed | Framing::Unframed => Header::default(),
        };
        Self { call, manner, header, limit }
    }

    fn message(&self, sequence: i32) -> Message<'_> {
        Message {
            kind: if self.call.oneway { MessageType::Oneway } else { MessageType::Call },
            method: &self.call.method,
            sequence,
            body: &self.call.payload,
        }
    }

    /// Appends the message that asks it.
    pub(crate) fn append(&self, sequence: i32, out: &mut BytesMut) -> Result<(), WireError> {
        append(self.manner.framing, &self.header, &self.message(sequence), self.limit, out)
    }

    /// The same to what one connection writes by itself.
    fn push(&self, sequence: i32, out: &mut Output) -> Result<(), WireError> {
        let message = self.message(sequence);
        out.push(self.manner.framing, &self.header, &message, &self.call.payload, self.limit)
    }
}

pub(crate) fn failed(kind: ErrorKind, reason: impl Into<String>) -> CallError {
    CallError::new(kind.into(), reason)
}

pub(crate) fn overloaded() -> CallError {
    failed(ErrorKind::Overloaded, "too many calls to this instance are in flight")
}

/// A connection that broke while a call was on it.
pub(crate) fn lost(error: &std::io::Error) -> CallError {
    let kind = match error.kind() {
        std::io::ErrorKind::InvalidData => CallErrorKind::Framework,
        _ => ErrorKind::Unavailable.into(),
    };
    CallError::new(kind, format!("the connection to the instance broke: {error}"))
}
