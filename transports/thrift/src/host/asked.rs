//! One question as a host has to answer it.

use bytes::Bytes;
use registry_api::call::{CallError, Reply};

use crate::answer;
use crate::wire::{Framing, Header, Message, MessageType, Packet, WireError};

/// What of a question the answer repeats.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    framing: Framing,
    /// UTF-8, for it was parsed.
    method: Bytes,
    sequence: i32,
    oneway: bool,
    limit: usize,
}

impl Asked {
    pub(super) fn new(packet: &Packet, message: &Message<'_>, limit: usize) -> Self {
        Self {
            framing: packet.framing,
            method: packet.message.slice_ref(message.method.as_bytes()),
            sequence: message.sequence,
            oneway: message.kind == MessageType::Oneway,
            limit,
        }
    }

    pub(super) fn sequence(&self) -> i32 {
        self.sequence
    }

    /// Appends the answer by `put`; nothing if nobody waits for one.
    pub(super) fn answer(
        &self,
        outcome: Result<Reply, CallError>,
        mut put: impl FnMut(Framing, &Header, &Message<'_>, &Bytes, usize) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if self.oneway {
            return Ok(());
        }
        let mut put = |kind, body: &Bytes, headers| {
            let method = std::str::from_utf8(&self.method).unwrap_or_default();
            let message = Message { kind, method, sequence: self.sequence, body };
            let header = Header { headers, ..Header::default() };
            put(self.framing, &header, &message, body, self.limit)
        };
        let (kind, body, headers) = answer::of(outcome);
        put(kind, &body, headers).or_else(|error| {
            // The answer does not fit; that it does not, does.
            let reason = format!("the answer cannot be sent: {error}");
            let (kind, body, headers) = answer::exception(answer::PROTOCOL_ERROR, &reason);
            put(kind, &body, headers)
        })
    }
}
