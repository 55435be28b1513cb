//! The envelope of a call: type, method and sequence id.

use bytes::{BufMut, BytesMut};

use super::binary::{DEPTH, Reader, WireError, Writer, kind};

const VERSION_1: u32 = 0x8001_0000;
const MAX_METHOD: usize = 1024;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageType {
    Call = 1,
    Reply = 2,
    Exception = 3,
    Oneway = 4,
}

/// A message without its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: MessageType,
    pub(crate) method: &'a str,
    pub(crate) sequence: i32,
    /// The struct behind the envelope: arguments, result or exception.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (kind, method, sequence) = Self::head(&mut reader)?;
        Ok(Self { kind, method, sequence, body: reader.rest() })
    }

    fn head(reader: &mut Reader<'a>) -> Result<(MessageType, &'a str, i32), WireError> {
        let version = reader.i32()? as u32;
        if version & 0xffff_0000 != VERSION_1 {
            return Err(WireError::Protocol("a message does not begin with the strict version"));
        }
        let kind = match version & 0xff {
            1 => MessageType::Call,
            2 => MessageType::Reply,
            3 => MessageType::Exception,
            4 => MessageType::Oneway,
            _ => return Err(WireError::Protocol("a message is of an unknown type")),
        };
        let method = reader.string()?;
        if method.len() > MAX_METHOD {
            return Err(WireError::Protocol("the name of a method is too long"));
        }
        Ok((kind, method, reader.i32()?))
    }

    /// Where the envelope at the front of `bytes` ends, `None` if it is not all
    /// there yet.
    pub(crate) fn envelope(bytes: &'a [u8]) -> Result<Option<usize>, WireError> {
        let mut reader = Reader::new(bytes);
        match Self::head(&mut reader) {
            Ok(_) => Ok(Some(bytes.len() - reader.remaining())),
            Err(WireError::Truncated) if bytes.len() <= MAX_METHOD + 12 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> usize {
        12 + self.method.len() + self.body.len()
    }

    /// Appends everything before the body.
    pub(super) fn append_head(&self, out: &mut BytesMut) {
        out.put_u32(VERSION_1 | self.kind as u32);
        out.put_u32(self.method.len() as u32); // Far below its limit.
        out.put_slice(self.method.as_bytes());
        out.put_i32(self.sequence);
    }
}

/// `TApplicationException`: what a framework answers when the application was
/// never asked, or never answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl Application {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let mut parsed = Self::new(0, "");
        while let Some(field) = reader.field()? {
            match field {
                (kind::STRING, 1) => parsed.message = reader.string()?.to_owned(),
                (kind::I32, 2) => parsed.code = reader.i32()?,
                (kind, _) => reader.skip(kind, DEPTH)?,
            }
        }
        Ok(parsed)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.field(kind::STRING, 1);
        writer.bytes(self.message.as_bytes());
        writer.field(kind::I32, 2);
        writer.i32(self.code);
        writer.stop();
        writer.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_show_where_they_begin() {
        let message = Message {
            kind: MessageType::Call,
            method: "getUser",
            sequence: 7,
            body: &[kind::BOOL, 0, 1, 1, kind::STOP],
        };
        let mut bytes = BytesMut::new();
        message.append_head(&mut bytes);
        bytes.put_slice(message.body);
        assert_eq!(bytes.len(), message.length());
        assert_eq!(Message::parse(&bytes), Ok(message));
        let head = bytes.len() - 5;
        for end in 0..bytes.len() {
            let found = (end >= head).then_some(head);
            assert_eq!(Message::envelope(&bytes[..end]), Ok(found), "{end}");
        }
        assert!(Message::envelope(b"GET / HTTP/1.1\r\n").is_err());
    }
}
