//! TTHeader: facts about a call before its message.
//!
//! Layout and keys: cloudwego/gopkg v0.2.0 `protocol/ttheader` (`encode.go`,
//! `decode.go`, `metakey.go`); the names that Kitex' `metainfo` gives to pairs
//! from HTTP: bytedance/gopkg v0.1.4 `cloud/metainfo/http.go`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use registry_api::call::Headers;

use super::binary::WireError;

/// Behind the length: what tells this framing from a bare message.
pub(super) const MAGIC: [u8; 2] = [0x10, 0x00];
/// Length, magic, flags, sequence id, header size.
const FIXED: usize = 14;
/// The flag of a stream, which is another protocol.
const STREAMING: u16 = 0b10;
const MAX_HEADER: usize = 64 * 1024;

/// What an entry of the header is.
mod info {
    pub(super) const PADDING: u8 = 0x00;
    pub(super) const TEXTS: u8 = 0x01;
    pub(super) const NUMBERED: u8 = 0x10;
    pub(super) const ACL_TOKEN: u8 = 0x11;
}

/// Numbered keys.
mod key {
    pub(super) const LOG_ID: u16 = 2;
    pub(super) const TO_SERVICE: u16 = 6;
    pub(super) const RPC_TIMEOUT: u16 = 12;
}

/// The name under which a log id travels outside Thrift.
const LOG_ID_HEADER: &str = "x-tt-logid";
/// Pairs that Kitex hands to its application, on its wire and over HTTP.
const PREFIXES: [(&str, &str); 2] =
    [("RPC_PERSIST_", "rpc-persist-"), ("RPC_TRANSIT_", "rpc-transit-")];

/// The facts of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// How long the caller waits.
    pub(crate) timeout: Option<Duration>,
    /// The service the caller means.
    pub(crate) service: Option<String>,
    /// Everything else.
    pub(crate) headers: Headers,
}

impl Header {
    /// Reads what stands between the length and the message; returns where the
    /// message begins.
    pub(super) fn parse(packet: &[u8]) -> Result<(Self, usize), WireError> {
        let mut rest = Cursor(packet);
        rest.take(2)?; // The magic.
        if rest.u16()? & STREAMING != 0 {
            return Err(WireError::Protocol("TTHeader streams are not supported"));
        }
        rest.take(4)?; // The sequence id, which the message repeats.
        let size = usize::from(rest.u16()?) * 4;
        let mut entries = Cursor(rest.take(size)?);
        if entries.u8()? != 0 {
            return Err(WireError::Protocol("TTHeader holds another protocol than binary Thrift"));
        }
        if entries.u8()? != 0 {
            return Err(WireError::Protocol("TTHeader transforms are not supported"));
        }
        let mut header = Self::default();
        while let Ok(entry) = entries.u8() {
            match entry {
                info::PADDING => {}
                info::TEXTS => header.read_texts(&mut entries)?,
                info::NUMBERED => header.read_numbered(&mut entries)?,
                info::ACL_TOKEN => drop(entries.text()?),
                _ => return Err(WireError::Protocol("TTHeader has an entry of an unknown kind")),
            }
        }
        Ok((header, packet.len() - rest.0.len()))
    }

    fn read_texts(&mut self, entries: &mut Cursor<'_>) -> Result<(), WireError> {
        for _ in 0..entries.u16()? {
            let (name, value) = (entries.text()?, entries.text()?);
            self.headers.push((outside_name(name), value.to_owned()));
        }
        Ok(())
    }

    fn read_numbered(&mut self, entries: &mut Cursor<'_>) -> Result<(), WireError> {
        for _ in 0..entries.u16()? {
            let (number, value) = (entries.u16()?, entries.text()?);
            match number {
                key::RPC_TIMEOUT => {
                    self.timeout = value.parse().ok().map(Duration::from_millis);
                }
                key::TO_SERVICE => self.service = Some(value.to_owned()),
                key::LOG_ID => self.headers.push((LOG_ID_HEADER.to_owned(), value.to_owned())),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes length and header for a message of `length` bytes that follows.
    pub(super) fn write(
        &self,
        sequence: i32,
        length: usize,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        let begin = out.len();
        out.put_bytes(0, FIXED);
        out.put_slice(&[0, 0]); // Binary Thrift, no transforms.
        self.write_numbered(out)?;
        self.write_texts(out)?;
        let padding = (out.len() - begin - FIXED).wrapping_neg() % 4;
        out.put_bytes(info::PADDING, padding);
        let size = out.len() - begin - FIXED;
        if size > MAX_HEADER {
            return Err(WireError::Protocol("the headers of a call are too large"));
        }
        let total = u32::try_from(FIXED - 4 + size + length).unwrap_or(u32::MAX);
        let mut fixed = &mut out[begin..begin + FIXED];
        fixed.put_u32(total);
        fixed.put_slice(&MAGIC);
        fixed.put_u16(0);
        fixed.put_i32(sequence);
        fixed.put_u16((size / 4) as u16); // At most 64 KiB / 4.
        Ok(())
    }

    fn write_numbered(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let log_id = self.headers.iter().find(|(name, _)| name == LOG_ID_HEADER);
        let count = u16::from(self.timeout.is_some())
            + u16::from(self.service.is_some())
            + u16::from(log_id.is_some());
        if count == 0 {
            return Ok(());
        }
        out.put_u8(info::NUMBERED);
        out.put_u16(count);
        if let Some(timeout) = self.timeout {
            out.put_u16(key::RPC_TIMEOUT);
            put_decimal(out, timeout.as_millis().max(1) as u64);
        }
        if let Some(service) = &self.service {
            out.put_u16(key::TO_SERVICE);
            put_text(out, service)?;
        }
        if let Some((_, value)) = log_id {
            out.put_u16(key::LOG_ID);
            put_text(out, value)?;
        }
        Ok(())
    }

    fn write_texts(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let texts = || self.headers.iter().filter(|(name, _)| name != LOG_ID_HEADER);
        let count = texts().count();
        if count == 0 {
            return Ok(());
        }
        out.put_u8(info::TEXTS);
        out.put_u16(u16::try_from(count).map_err(|_| TOO_LONG)?);
        for (name, value) in texts() {
            put_text(out, &inside_name(name))?;
            put_text(out, value)?;
        }
        Ok(())
    }
}

const TOO_LONG: WireError = WireError::Protocol("a header of a call is too long");

fn put_text(out: &mut BytesMut, text: &str) -> Result<(), WireError> {
    out.put_u16(u16::try_from(text.len()).map_err(|_| TOO_LONG)?);
    out.put_slice(text.as_bytes());
    Ok(())
}

/// A number as text, without a string of its own.
fn put_decimal(out: &mut BytesMut, number: u64) {
    let (mut digits, mut begin, mut rest) = ([0; 20], 20, number);
    loop {
        begin -= 1;
        digits[begin] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_u16((20 - begin) as u16);
    out.put_slice(&digits[begin..]);
}

/// A header's name on the wire.
fn inside_name(name: &str) -> Cow<'_, str> {
    for (inside, outside) in PREFIXES {
        if let Some(rest) = name.strip_prefix(outside) {
            return Cow::Owned(format!("{inside}{}", rest.to_ascii_uppercase().replace('-', "_")));
        }
    }
    Cow::Borrowed(name)
}

/// A wire name as a header's.
fn outside_name(name: &str) -> String {
    match PREFIXES.iter().any(|(inside, _)| name.starts_with(inside)) {
        true => name.to_ascii_lowercase().replace('_', "-"),
        false => name.to_ascii_lowercase(),
    }
}

/// Reads the parts of a header.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Result<&'a str, WireError> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).map_err(|_| WireError::Utf8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_names_become_what_kitex_calls_them() {
        assert_eq!(inside_name("rpc-persist-user-id"), "RPC_PERSIST_USER_ID");
        assert_eq!(outside_name("RPC_TRANSIT_A_B"), "rpc-transit-a-b");
        assert_eq!(outside_name("Traceparent"), "traceparent");
    }

    #[test]
    fn what_would_not_fit_is_refused() {
        let header =
            |value: String| Header { headers: vec![("a".to_owned(), value)], ..Header::default() };
        let long = header("x".repeat(70_000));
        assert!(long.write(1, 0, &mut BytesMut::new()).is_err());
        let mut many = header("x".repeat(60_000));
        many.headers.push(("b".to_owned(), "x".repeat(60_000)));
        assert!(many.write(1, 0, &mut BytesMut::new()).is_err());
    }

    proptest! {
        #[test]
        fn headers_round_trip(
            headers in prop::collection::vec(("[a-z][a-z0-9-]{0,20}", "\\PC{0,40}"), 0..5),
            timeout in prop::option::of(1_u64..100_000),
            service in prop::option::of("[A-Za-z.]{1,20}"),
        ) {
            let logged = |headers: &Headers| headers.iter().any(|(name, _)| name == LOG_ID_HEADER);
            prop_assume!(!logged(&headers));
            let timeout = timeout.map(Duration::from_millis);
            let header = Header { timeout, service, headers };
            let mut out = BytesMut::new();
            header.write(7, 5, &mut out).unwrap();
            let announced = u32::from_be_bytes([out[0], out[1], out[2], out[3]]) as usize;
            prop_assert_eq!(announced, out.len() - 4 + 5);
            let (read, end) = Header::parse(&out[4..]).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(end, out.len() - 4);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(0_u8..20, 0..100)) {
            let _ = Header::parse(&bytes);
        }
    }
}
