//! Where one message ends and the next begins: framed, or by its own structure.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::Message;
use crate::MAX_MESSAGE;

/// How a peer delimits messages. An answer uses what the question used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A four-byte length before each message.
    Framed,
    /// Nothing: a message ends where its struct ends.
    Unframed,
}

/// How many bytes may be walked for one message: the largest one in pieces of
/// 8 KiB, so that one byte at a time does not cost a core.
const MAX_LOOKED_AT: usize = 64 * MAX_MESSAGE;

/// Reads one message. `buffer` keeps what was read beyond it for the next.
///
/// Returns `None` at a clean end. Memory grows with what arrives, never with
/// what is announced.
pub(crate) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<Option<(Framing, BytesMut)>> {
    let mut looked_at = 0;
    loop {
        // A message without a length is walked again with every piece of it.
        looked_at += buffer.len();
        if looked_at > MAX_LOOKED_AT {
            return Err(invalid("a message arrives in too many pieces"));
        }
        if let Some((framing, skip, length)) = next_message(buffer)? {
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

/// The framing of the message at the front, the bytes before it and its
/// length, if all of it is there. The first four bytes tell the two apart
/// (`wire/kitex-gateway.md` a9).
fn next_message(buffer: &[u8]) -> io::Result<Option<(Framing, usize, usize)>> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    if head[..2] == [0x80, 0x01] {
        let length = Message::measure(buffer).map_err(invalid)?;
        return Ok(length.map(|length| (Framing::Unframed, 0, length)));
    }
    let length = u32::from_be_bytes(*head) as usize;
    if length == 0 || length > MAX_MESSAGE {
        return Err(invalid("a frame is empty or too large"));
    }
    Ok((rest.len() >= length).then_some((Framing::Framed, 4, length)))
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

    #[tokio::test]
    async fn a_message_in_single_bytes_does_not_cost_a_core() {
        struct Dribble(Vec<u8>, usize);
        impl AsyncRead for Dribble {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                into: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                let at = self.1;
                into.put_slice(&self.0[at..=at]);
                self.1 += 1;
                std::task::Poll::Ready(Ok(()))
            }
        }
        let text = [&[kind::STRING, 0, 1, 0, 0xf, 0, 0][..], &vec![b'x'; 0xf_0000]].concat();
        let message =
            Message { kind: MessageType::Call, method: "m", sequence: 1, body: &text }.write();
        let read = read_message(&mut Dribble(message, 0), &mut BytesMut::new()).await;
        assert!(read.is_err_and(|error| error.to_string().contains("pieces")));
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
