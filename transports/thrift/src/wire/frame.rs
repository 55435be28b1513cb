//! Where one message ends and the next begins.

use bytes::{BufMut, Bytes, BytesMut};

use super::binary::WireError;
use super::header::{self, Header};
use super::message::Message;
use super::walk::Walk;

/// How a peer delimits messages. An answer uses what the question used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A four-byte length before each message.
    Framed,
    /// TTHeader, and behind it a message, framed once more or not.
    Header {
        /// Whether the inner message has a length of its own.
        framed: bool,
    },
    /// Nothing: a message ends where its struct ends.
    Unframed,
}

/// One message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) framing: Framing,
    pub(crate) header: Header,
    /// The envelope and what is in it.
    pub(crate) message: Bytes,
}

/// Cuts what arrives into messages. Memory grows with what arrives, never with
/// what is announced, and every byte is looked at once.
#[derive(Debug)]
pub(crate) struct Splitter {
    front: Front,
    /// The largest message.
    limit: usize,
}

/// What is known of the message at the front of a buffer.
#[derive(Debug, Default)]
enum Front {
    /// Nothing, or that it is unframed and its envelope is not all there.
    #[default]
    Unknown,
    /// So many bytes behind the length, with a TTHeader or without.
    Announced(usize, bool),
    /// Its end is being looked for.
    Unframed(Walk),
}

const STRICT: [u8; 2] = [0x80, 0x01];
/// A strict envelope without a name, and an empty struct.
const MIN_MESSAGE: usize = 13;

impl Splitter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { front: Front::Unknown, limit }
    }

    /// Changes what is taken from the next message on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next message, once all of it is there.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, WireError> {
        if let Front::Unknown = self.front {
            self.front = Front::recognise(buffer, self.limit)?;
        }
        let packet = match &mut self.front {
            Front::Unknown => return Ok(None),
            Front::Announced(length, _) if buffer.len() < 4 + *length => return Ok(None),
            Front::Announced(length, with_header) => {
                let packet = buffer.split_to(4 + *length).freeze().slice(4..);
                if *with_header { open(&packet)? } else { Packet::plain(Framing::Framed, packet) }
            }
            Front::Unframed(walk) => match walk.advance(buffer)? {
                Some(end) => Packet::plain(Framing::Unframed, buffer.split_to(end).freeze()),
                None if buffer.len() > self.limit => return Err(TOO_LARGE),
                None => return Ok(None),
            },
        };
        self.front = Front::Unknown;
        Ok(Some(packet))
    }

    /// How many bytes the message at the front has, as far as that is known.
    pub(crate) fn announced(&self) -> usize {
        match self.front {
            Front::Announced(length, _) => 4 + length,
            Front::Unknown | Front::Unframed(_) => 0,
        }
    }
}

const TOO_LARGE: WireError = WireError::Protocol("a message is too large");

impl Front {
    /// The first six bytes tell a length from the strict version, and what
    /// follows the length (Kitex `pkg/remote/codec/default_codec.go` sniffs the
    /// same way).
    fn recognise(buffer: &[u8], limit: usize) -> Result<Self, WireError> {
        match buffer {
            [0x80, 0x01, ..] => {
                let envelope = Message::envelope(buffer)?;
                let walk = envelope.map(|end| Self::Unframed(Walk::over_struct(end)));
                Ok(walk.unwrap_or(Self::Unknown))
            }
            [a, b, c, d, rest @ ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if !(MIN_MESSAGE..=limit).contains(&length) {
                    return Err(WireError::Protocol("a frame is too small or too large"));
                }
                match rest.first_chunk::<2>() {
                    None => Ok(Self::Unknown),
                    Some(&header::MAGIC) => Ok(Self::Announced(length, true)),
                    Some(&STRICT) => Ok(Self::Announced(length, false)),
                    Some(_) => Err(WireError::Protocol("a frame holds no strict binary Thrift")),
                }
            }
            _ => Ok(Self::Unknown),
        }
    }
}

/// Takes the TTHeader off a packet.
fn open(packet: &Bytes) -> Result<Packet, WireError> {
    let (header, begin) = Header::parse(packet)?;
    let inner = packet.slice(begin..);
    if inner.starts_with(&STRICT) {
        return Ok(Packet { framing: Framing::Header { framed: false }, header, message: inner });
    }
    let announced = inner.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
    match announced {
        Some(length) if length == inner.len() - 4 && inner[4..].starts_with(&STRICT) => {
            let framing = Framing::Header { framed: true };
            Ok(Packet { framing, header, message: inner.slice(4..) })
        }
        _ => Err(WireError::Protocol("a TTHeader holds no strict binary Thrift")),
    }
}

impl Packet {
    fn plain(framing: Framing, message: Bytes) -> Self {
        Self { framing, header: Header::default(), message }
    }
}

/// Appends a message, or nothing if it is too large.
pub(crate) fn append(
    framing: Framing,
    header: &Header,
    message: &Message<'_>,
    limit: usize,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    out.reserve(message.length().min(limit) + 64);
    append_head(framing, header, message, limit, out)?;
    out.put_slice(message.body);
    Ok(())
}

/// Appends a message without its body, or nothing if it is too large.
pub(crate) fn append_head(
    framing: Framing,
    header: &Header,
    message: &Message<'_>,
    limit: usize,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let length = message.length();
    if length > limit {
        return Err(TOO_LARGE);
    }
    let begin = out.len();
    match framing {
        Framing::Unframed => {}
        Framing::Framed => out.put_u32(length as u32), // Far below 4 GiB.
        Framing::Header { framed } => {
            let inner = if framed { length + 4 } else { length };
            if let Err(error) = header.write(message.sequence, inner, out) {
                out.truncate(begin);
                return Err(error);
            }
            if framed {
                out.put_u32(length as u32);
            }
        }
    }
    message.append_head(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MAX_MESSAGE;
    use crate::wire::{MessageType, kind};

    const ALL: [Framing; 4] = [
        Framing::Framed,
        Framing::Unframed,
        Framing::Header { framed: true },
        Framing::Header { framed: false },
    ];

    fn message(body: &[u8]) -> Message<'_> {
        Message { kind: MessageType::Call, method: "m", sequence: 1, body }
    }

    #[test]
    fn all_framings_are_told_apart_in_one_stream_however_it_is_cut() {
        let mut stream = BytesMut::new();
        for framing in ALL {
            append(framing, &Header::default(), &message(&[kind::STOP]), 99, &mut stream).unwrap();
        }
        for piece in [1, 2, 3, 7, stream.len()] {
            let (mut splitter, mut buffer) = (Splitter::new(MAX_MESSAGE), BytesMut::new());
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                buffer.put_slice(bytes);
                while let Some(packet) = splitter.next(&mut buffer).unwrap() {
                    assert_eq!(Message::parse(&packet.message), Ok(message(&[kind::STOP])));
                    found.push(packet.framing);
                }
            }
            assert_eq!(found, ALL);
        }
    }

    #[test]
    fn what_is_announced_is_bounded_and_what_is_unknown_is_refused() {
        let hostile: [&[u8]; 7] = [
            &[0x7f, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0],
            &[0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 20, 0x90, 0x01], // Kitex protobuf.
            &[0, 0, 0, 20, 0x82, 0x21], // Compact.
            b"PRI * HTTP/2.0\r\n",
            b"GET / HTTP/1.1\r\n",
        ];
        for bytes in hostile {
            let read = Splitter::new(MAX_MESSAGE).next(&mut BytesMut::from(bytes));
            assert!(read.is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn an_oversized_message_is_not_written() {
        let body = vec![0; MAX_MESSAGE];
        let mut out = BytesMut::from(&b"kept"[..]);
        for framing in ALL {
            assert!(
                append(framing, &Header::default(), &message(&body), MAX_MESSAGE, &mut out)
                    .is_err()
            );
        }
        assert_eq!(&out[..], b"kept");
    }

    #[test]
    fn an_unframed_message_without_an_end_is_refused() {
        let mut bytes = BytesMut::new();
        let head = [kind::STRING, 0, 1, 0x7f, 0xff, 0xff, 0xff];
        append(Framing::Unframed, &Header::default(), &message(&head), 99, &mut bytes).unwrap();
        let mut splitter = Splitter::new(MAX_MESSAGE);
        assert_eq!(splitter.next(&mut bytes), Ok(None));
        bytes.put_bytes(0, MAX_MESSAGE);
        assert_eq!(splitter.next(&mut bytes), Err(TOO_LARGE));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(prop_oneof![0_u8..20, any::<u8>()], 0..200),
            start in prop::sample::select(vec![
                vec![], vec![0x80, 1, 0, 1], vec![0, 0, 0, 60, 0x10, 0, 0, 0, 0, 0, 0, 1, 0, 1],
                vec![0, 0, 0, 40, 0x80, 1],
            ]),
        ) {
            let mut buffer = BytesMut::from(&[start, bytes].concat()[..]);
            let mut splitter = Splitter::new(MAX_MESSAGE);
            while let Ok(Some(packet)) = splitter.next(&mut buffer) {
                let _ = Message::parse(&packet.message);
            }
        }
    }
}
