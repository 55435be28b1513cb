//! Where one message ends and the next begins: framed, or by its own structure.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::Message;
use super::walk::Walk;
use crate::MAX_MESSAGE;

/// How a peer delimits messages. An answer uses what the question used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A four-byte length before each message.
    Framed,
    /// Nothing: a message ends where its struct ends.
    Unframed,
}

/// Reads one message. `buffer` keeps what was read beyond it for the next.
///
/// Returns `None` at a clean end. Memory grows with what arrives, never with
/// what is announced, and every byte is looked at once.
pub(crate) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<Option<(Framing, BytesMut)>> {
    let mut front = Front::Unknown;
    loop {
        if let Some((framing, skip, length)) = front.look(buffer)? {
            let _ = buffer.split_to(skip);
            return Ok(Some((framing, buffer.split_to(length))));
        }
        if buffer.len() > MAX_MESSAGE + 4 {
            return Err(invalid("a message is too large"));
        }
        buffer.reserve(8 * 1024);
        if stream.read_buf(buffer).await? == 0 {
            return match buffer.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

/// What is known of the message at the front of a buffer.
#[derive(Debug)]
enum Front {
    /// Its length was announced.
    Framed(usize),
    /// Nothing, or that it is unframed and its envelope is not all there.
    Unknown,
    /// Its end is being looked for.
    Unframed(Walk),
}

impl Front {
    /// The framing, the bytes before the message and its length, once all of it
    /// is there. The first four bytes tell a length from the strict version
    /// (Kitex `default_codec.go` sniffs the same way).
    fn look(&mut self, buffer: &[u8]) -> io::Result<Option<(Framing, usize, usize)>> {
        if let Self::Unknown = self {
            *self = Self::recognise(buffer)?;
        }
        match self {
            Self::Unknown => Ok(None),
            Self::Framed(length) => {
                Ok((buffer.len() >= 4 + *length).then_some((Framing::Framed, 4, *length)))
            }
            Self::Unframed(walk) => {
                let end = walk.advance(buffer).map_err(invalid)?;
                Ok(end.map(|end| (Framing::Unframed, 0, end)))
            }
        }
    }

    fn recognise(buffer: &[u8]) -> io::Result<Self> {
        let Some(head) = buffer.first_chunk::<4>() else {
            return Ok(Self::Unknown);
        };
        if head[..2] == [0x80, 0x01] {
            let envelope = Message::envelope(buffer).map_err(invalid)?;
            let walk = envelope.map(|end| Self::Unframed(Walk::over_struct(end)));
            return Ok(walk.unwrap_or(Self::Unknown));
        }
        match u32::from_be_bytes(*head) as usize {
            length @ 1..=MAX_MESSAGE => Ok(Self::Framed(length)),
            _ => Err(invalid("a frame is empty or too large")),
        }
    }
}

pub(crate) async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    framing: Framing,
    message: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MAX_MESSAGE);
    let length = length.ok_or_else(|| invalid("a message is too large"))?;
    let mut bytes = Vec::with_capacity(message.len() + 4);
    if framing == Framing::Framed {
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(message);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;
    use crate::wire::{MessageType, kind};

    #[tokio::test]
    async fn both_framings_are_told_apart_in_one_stream() {
        let message =
            Message { kind: MessageType::Call, method: "m", sequence: 1, body: &[kind::STOP] };
        let bytes = message.write();
        let mut stream = Vec::new();
        for framing in [Framing::Framed, Framing::Unframed, Framing::Framed] {
            write_message(&mut stream, framing, &bytes).await.unwrap();
        }
        let (mut stream, mut buffer) = (&stream[..], BytesMut::new());
        for expected in [Framing::Framed, Framing::Unframed, Framing::Framed] {
            let read = read_message(&mut stream, &mut buffer).await.unwrap();
            assert_eq!(read, Some((expected, BytesMut::from(&bytes[..]))));
        }
        assert_eq!(read_message(&mut stream, &mut buffer).await.unwrap(), None);
    }

    /// Gives one byte at a time.
    struct Dribble(Vec<u8>, usize);

    impl AsyncRead for Dribble {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let at = self.1;
            into.put_slice(&self.0[at..=at]);
            self.1 += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn the_largest_messages_may_arrive_byte_by_byte() {
        // Many small values: what would be walked again and again.
        let count = 200_000_u32;
        let mut body = vec![kind::LIST, 0, 1, kind::STRING];
        body.extend(count.to_be_bytes());
        body.extend((0..count).flat_map(|_| [0, 0, 0, 1, b'x']));
        body.push(kind::STOP);
        let message =
            Message { kind: MessageType::Call, method: "m", sequence: 1, body: &body }.write();
        for framing in [Framing::Framed, Framing::Unframed] {
            let mut stream = Vec::new();
            write_message(&mut stream, framing, &message).await.unwrap();
            let read = read_message(&mut Dribble(stream, 0), &mut BytesMut::new()).await;
            assert_eq!(read.unwrap().map(|(_, read)| read.len()), Some(message.len()));
        }
    }

    #[tokio::test]
    async fn hostile_lengths_are_refused_at_once() {
        for head in [[0, 0, 0, 0], [0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff]] {
            let mut buffer = BytesMut::new();
            assert!(read_message(&mut &head[..], &mut buffer).await.is_err());
            assert!(buffer.capacity() <= 64 * 1024);
        }
    }
}
