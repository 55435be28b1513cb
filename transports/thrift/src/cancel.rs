//! Giving up on a call over a connection that others use: an extension of ours,
//! sent only to peers whose offer says `thrift.cancel=true`.
//!
//! A oneway message `portolan.cancel` whose struct holds `1: i32 sequence`, the
//! id of the call. Nobody answers it.

use crate::wire::{Message, MessageType, Reader, WireError, Writer, kind};

/// The reserved method.
pub(crate) const METHOD: &str = "portolan.cancel";

pub(crate) fn body(sequence: i32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.field(kind::I32, 1);
    writer.i32(sequence);
    writer.stop();
    writer.bytes
}

pub(crate) fn message(body: &[u8]) -> Message<'_> {
    Message { kind: MessageType::Oneway, method: METHOD, sequence: 0, body }
}

/// Which call is meant.
pub(crate) fn read(body: &[u8]) -> Result<i32, WireError> {
    let mut reader = Reader::new(body);
    match reader.field()? {
        Some((kind::I32, 1)) => reader.i32(),
        _ => Err(WireError::Protocol("a cancellation names no call")),
    }
}
