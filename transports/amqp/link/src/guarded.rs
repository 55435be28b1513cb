//! A stream that looks at what a broker sends before the client does.
//!
//! Facts: AMQP 0-9-1, 2.3.5: a frame is a type, a channel, a size, so many bytes, and an
//! end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite, IoSlice};

use crate::header;

/// The frames that are looked at.
const HEADER: u8 = 2;
/// Before the payload stand type, channel and size.
const FRONT: usize = 7;
const END: [u8; 1] = [0xce];
/// The largest header: more than a broker lets anybody send.
const MAX_HEADER: usize = 1 << 20;

/// Passes on what it reads, and what it writes.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    inner: S,
    frames: Frames,
}

/// Where we are in what the broker sends.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of the frame under way that need no look.
    passing: usize,
    /// The beginning of a frame that is not here as a whole.
    held: Vec<u8>,
    /// What was looked at and waits for its reader, from `given` on.
    ready: Vec<u8>,
    given: usize,
}

impl<S> Guarded<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, frames: Frames::default() }
    }
}

impl Frames {
    /// Takes what came; says how many bytes at the front of it are for the reader as they
    /// are. The rest waits here.
    fn take(&mut self, came: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            let passed = self.pass(came)?;
            self.held.extend_from_slice(&came[passed..]);
            self.release()?;
            return Ok(passed);
        }
        self.held.extend_from_slice(came);
        self.release()?;
        Ok(0)
    }

    /// How many bytes at the front need no change.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let skipped = self.passing.min(rest.len());
            self.passing -= skipped;
            at += skipped;
            let rest = &rest[skipped..];
            let Some(size) = size(rest) else { return Ok(at) };
            let whole = FRONT + size + END.len();
            if rest[0] != HEADER {
                self.passing = whole;
                continue;
            }
            if size > MAX_HEADER {
                let why = "a header of more than 1 MiB";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if rest.len() < whole || !header::is_fit(&rest[FRONT..FRONT + size]) {
                return Ok(at);
            }
            at += whole;
        }
    }

    /// Makes ready what is held, as far as it is here as a whole.
    fn release(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        loop {
            let passed = self.pass(rest)?;
            self.ready.extend_from_slice(&rest[..passed]);
            rest = &rest[passed..];
            let whole = size(rest).map(|size| (size, FRONT + size + END.len()));
            let Some((size, whole)) = whole.filter(|(_, whole)| rest.len() >= *whole) else {
                self.held = rest.to_vec();
                return Ok(());
            };
            // It is whole, and was not passed.
            tracing::warn!(bytes = size, "a message with properties that are none; dropped them");
            let bare = header::bare(&rest[FRONT..FRONT + size]).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "a header that is none")
            })?;
            self.ready.extend_from_slice(&rest[..3]);
            self.ready.extend_from_slice(&(bare.len() as u32).to_be_bytes());
            self.ready.extend_from_slice(&bare);
            self.ready.extend_from_slice(&END);
            rest = &rest[whole..];
        }
    }

    /// Gives what is ready.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = &self.ready[self.given..];
        let count = waiting.len().min(buffer.len());
        buffer[..count].copy_from_slice(&waiting[..count]);
        self.given += count;
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
        }
        count
    }

    fn is_ready(&self) -> bool {
        self.given < self.ready.len()
    }
}

/// The size of the payload of a frame that begins here; none where that is not here yet.
fn size(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.get(3..FRONT)?;
    Some(digits.iter().fold(0, |size, digit| size << 8 | usize::from(*digit)))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.frames.is_ready() {
                return Poll::Ready(Ok(this.frames.give(buffer)));
            }
            let count = ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            let passed = this.frames.take(&buffer[..count])?;
            if passed > 0 {
                return Poll::Ready(Ok(passed));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::AsyncReadExt;
    use futures_util::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, &END].concat()
    }

    fn header(properties: &[u8]) -> Vec<u8> {
        let front = [&60_u16.to_be_bytes()[..], &[0, 0], &7_u64.to_be_bytes()].concat();
        frame(HEADER, &[&front[..], properties].concat())
    }

    /// Tables in tables.
    fn deep() -> Vec<u8> {
        let mut inner = Vec::new();
        for _ in 0..5_000 {
            inner = [&b"\0F"[..], &(inner.len() as u32).to_be_bytes(), &inner].concat();
        }
        header(&[&[0x20, 0][..], &(inner.len() as u32).to_be_bytes(), &inner].concat())
    }

    /// A stream that gives so many bytes at a time.
    struct Slow(Cursor<Vec<u8>>, usize);

    impl AsyncRead for Slow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let most = self.1.min(buffer.len());
            Pin::new(&mut self.0).poll_read(context, &mut buffer[..most])
        }
    }

    fn read(sent: Vec<u8>, at_a_time: usize) -> io::Result<Vec<u8>> {
        let mut guarded = Guarded::new(Slow(Cursor::new(sent), at_a_time));
        let mut got = Vec::new();
        futures_util::FutureExt::now_or_never(guarded.read_to_end(&mut got))
            .expect("it never waits")?;
        Ok(got)
    }

    #[test]
    fn what_is_deep_arrives_bare_and_the_rest_as_it_was() {
        let fine = header(b"\x80\0\x04text");
        let body = frame(3, &[7; 1_000]);
        let parts = [frame(1, b"method"), fine.clone(), body.clone(), deep(), body, fine];
        let sent = parts.concat();
        let mut expected = parts;
        expected[3] = header(&[0, 0]);
        for at_a_time in [1, 2, 7, 8, 100, 4_096, usize::MAX] {
            let got = read(sent.clone(), at_a_time).unwrap();
            assert!(got == expected.concat(), "{at_a_time} bytes at a time");
        }
    }

    #[test]
    fn a_header_without_a_front_or_an_end_is_an_error() {
        let short = read(frame(HEADER, b"short"), 100).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::InvalidData);
        let huge = [&[HEADER, 0, 1][..], &[0xff; 4]].concat();
        assert_eq!(read(huge, 100).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn frames_that_need_no_look_pass_whatever_is_in_them(
            payloads in proptest::collection::vec(
                (prop_oneof![Just(1_u8), Just(3), Just(8)],
                 proptest::collection::vec(any::<u8>(), 0..300)),
                0..8,
            ),
            at_a_time in 1_usize..400,
        ) {
            let sent = payloads.iter().flat_map(|(kind, payload)| frame(*kind, payload));
            let sent: Vec<u8> = sent.collect();
            prop_assert_eq!(read(sent.clone(), at_a_time).unwrap(), sent);
        }
    }
}
