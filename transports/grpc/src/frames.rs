//! Messages in the body of a gRPC request or answer, read one after the other.
//!
//! Not tonic's: a message that is too large is passed over as it arrives, so that
//! it can be answered and the stream goes on, and the limit may change once it is
//! known who sends. Facts: grpc/grpc `doc/PROTOCOL-HTTP2.md`,
//! *Length-Prefixed-Message*.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use prost::Message;
use tonic::Status;

/// What was read.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A message.
    Message(Bytes),
    /// The beginning of a message that was larger than the limit; the rest is
    /// passed over.
    TooLarge(Bytes),
    /// The end, with the trailers if there were any.
    End(HeaderMap),
}

/// The messages of a body.
pub(crate) struct Frames<B> {
    body: B,
    /// What arrived last. Messages that are whole in it are not copied.
    arrived: Bytes,
    /// The beginning of a message whose rest is still to come.
    begun: BytesMut,
    limit: usize,
    /// How much of a message that is too large is still to come.
    passing: usize,
}

const PREFIX: usize = 5;
/// What is kept of a message that is too large: enough to see whose it is.
const BEGINNING: usize = 1024;
/// So many times the limit is not waited for to pass.
const HOPELESS: usize = 64;

impl<B> Frames<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// Messages of at most `limit` bytes.
    pub(crate) fn new(body: B, limit: usize) -> Self {
        Self { body, arrived: Bytes::new(), begun: BytesMut::new(), limit, passing: 0 }
    }

    /// Changes the limit, for what is read from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Frame, Status> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next message, if it is here already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>, Status> {
        self.take()
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Status>> {
        loop {
            if let Some(frame) = self.take()? {
                return Poll::Ready(Ok(frame));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.end(HeaderMap::new())),
                Some(Err(error)) => {
                    let reason = format!("the stream broke: {error}");
                    return Poll::Ready(Err(Status::unavailable(reason)));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => self.arrived(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(self.end(trailers));
                }
            }
        }
    }

    /// Asked only when everything that arrived before was taken.
    fn arrived(&mut self, mut data: Bytes) {
        let passed = self.passing.min(data.len());
        data.advance(passed);
        self.passing -= passed;
        self.arrived = data;
    }

    fn end(&self, trailers: HeaderMap) -> Result<Frame, Status> {
        match self.begun.is_empty() && self.passing == 0 {
            true => Ok(Frame::End(trailers)),
            false => Err(Status::internal("the stream ended in the middle of a message")),
        }
    }

    fn take(&mut self) -> Result<Option<Frame>, Status> {
        if self.begun.is_empty() {
            let Some(head) = Head::read(&self.arrived, self.limit)? else {
                self.fill(PREFIX);
                return Ok(None);
            };
            if !head.too_large && self.arrived.len() >= PREFIX + head.length {
                self.arrived.advance(PREFIX);
                return Ok(Some(Frame::Message(self.arrived.split_to(head.length))));
            }
            return self.go_on(head);
        }
        if !self.fill(PREFIX) {
            return Ok(None);
        }
        match Head::read(&self.begun, self.limit)? {
            Some(head) => self.go_on(head),
            None => Ok(None),
        }
    }

    /// A message of which not all is here, or not all is wanted.
    fn go_on(&mut self, head: Head) -> Result<Option<Frame>, Status> {
        let wanted = match head.too_large {
            true => head.length.min(BEGINNING),
            false => head.length,
        };
        if !self.fill(PREFIX + wanted) {
            return Ok(None);
        }
        let mut message = self.begun.split();
        message.advance(PREFIX);
        if !head.too_large {
            return Ok(Some(Frame::Message(message.freeze())));
        }
        let rest = head.length - wanted;
        let passed = rest.min(self.arrived.len());
        self.arrived.advance(passed);
        self.passing = rest - passed;
        Ok(Some(Frame::TooLarge(message.freeze())))
    }

    /// Moves what is missing of so many bytes to what has begun; whether that is
    /// all. Memory grows with what is here, never with what was announced.
    fn fill(&mut self, wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.begun.len());
        let moved = missing.min(self.arrived.len());
        self.begun.extend_from_slice(&self.arrived.split_to(moved));
        moved == missing
    }
}

/// What the five bytes before a message say.
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    too_large: bool,
}

impl Head {
    /// `None` where they are not all here.
    fn read(bytes: &[u8], limit: usize) -> Result<Option<Self>, Status> {
        let Some(&[flag, a, b, c, d]) = bytes.first_chunk() else { return Ok(None) };
        if flag == 1 {
            return Err(Status::unimplemented("compressed messages are not taken"));
        }
        if flag != 0 {
            return Err(Status::internal("a message begins with a flag that is not known"));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > limit.saturating_mul(HOPELESS) {
            return Err(Status::resource_exhausted(format!("a message of {length} bytes")));
        }
        Ok(Some(Self { length, too_large: length > limit }))
    }
}

/// Appends a message with its prefix.
pub(crate) fn append(message: &impl Message, out: &mut BytesMut) {
    let length = message.encoded_len();
    out.reserve(PREFIX + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(out);
}

/// Bytes that are a message already, with their prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(message);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    /// A body that arrives in pieces of `piece` bytes.
    fn frames(
        bytes: &[u8],
        piece: usize,
        limit: usize,
    ) -> Frames<impl Body<Data = Bytes, Error = String> + Unpin> {
        let pieces: Vec<_> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        let pieces = pieces.into_iter().map(|data| Ok(http_body::Frame::data(data)));
        Frames::new(StreamBody::new(futures_util::stream::iter(pieces)), limit)
    }

    #[tokio::test]
    async fn messages_arrive_in_any_pieces_and_large_ones_are_passed_over() {
        let mut sent = framed(b"one").to_vec();
        sent.extend(framed(&[7; 5000]));
        sent.extend(framed(b""));
        sent.extend(framed(b"two"));
        for piece in [1, 3, 64, 10_000] {
            let mut frames = frames(&sent, piece, 100);
            let Frame::Message(one) = frames.next().await.unwrap() else { panic!() };
            assert_eq!(one, "one");
            let Frame::TooLarge(begun) = frames.next().await.unwrap() else { panic!() };
            assert_eq!(begun, vec![7; BEGINNING]);
            let Frame::Message(empty) = frames.next().await.unwrap() else { panic!() };
            assert_eq!(empty, "");
            let Frame::Message(two) = frames.next().await.unwrap() else { panic!() };
            assert_eq!(two, "two");
            assert!(matches!(frames.next().await, Ok(Frame::End(_))));
            assert!(frames.begun.capacity() < 64 * 1024);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_stream() {
        for (sent, code) in [
            (&[7, 0, 0, 0, 0][..], tonic::Code::Internal),
            (&[1, 0, 0, 0, 0], tonic::Code::Unimplemented),
            (&[0, 0xff, 0xff, 0xff, 0xff, 1], tonic::Code::ResourceExhausted),
            (&[0, 0, 0, 0, 9, 1], tonic::Code::Internal),
            (&[0, 0], tonic::Code::Internal),
        ] {
            let seen = frames(sent, 2, 100).next().await;
            assert_eq!(seen.unwrap_err().code(), code, "{sent:?}");
        }
    }
}
