//! The strict binary protocol, read from a slice and written to a vector.
//!
//! Whatever is read is bounded by the bytes that are there: a count is checked
//! against them before anything is allocated for it.

/// Type bytes of fields and elements.
pub(crate) mod kind {
    pub(crate) const STOP: u8 = 0;
    pub(crate) const BOOL: u8 = 2;
    pub(crate) const I8: u8 = 3;
    pub(crate) const DOUBLE: u8 = 4;
    pub(crate) const I16: u8 = 6;
    pub(crate) const I32: u8 = 8;
    pub(crate) const I64: u8 = 10;
    /// Strings and binaries alike.
    pub(crate) const STRING: u8 = 11;
    pub(crate) const STRUCT: u8 = 12;
    pub(crate) const MAP: u8 = 13;
    pub(crate) const SET: u8 = 14;
    pub(crate) const LIST: u8 = 15;
    pub(crate) const UUID: u8 = 16;
}

/// How deep values may nest.
pub(crate) const DEPTH: usize = 64;

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the message ends in the middle of a value")]
    Truncated,
    #[error("a count of {0} does not fit into the rest of the message")]
    Count(i32),
    #[error("a value nests deeper than {DEPTH}")]
    Depth,
    #[error("{0} is not a type")]
    Kind(u8),
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("{0}")]
    Protocol(&'static str),
}

/// Reads values from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Protocol("a bool is neither 0 nor 1")),
        }
    }

    #[inline]
    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn f64(&mut self) -> Result<f64, WireError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let count = self.i32()?;
        let length = usize::try_from(count).map_err(|_| WireError::Count(count))?;
        self.take(length)
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8)
    }

    /// The head of the next field; `None` at the end of the struct.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u8, i16)>, WireError> {
        match self.u8()? {
            kind::STOP => Ok(None),
            kind => Ok(Some((kind, self.i16()?))),
        }
    }

    /// The head of a list or set: element type and count.
    pub(crate) fn sequence(&mut self) -> Result<(u8, usize), WireError> {
        let kind = self.u8()?;
        let count = self.i32()?;
        Ok((kind, self.fits(count, min_size(kind)?)?))
    }

    /// The head of a map: key type, value type and count.
    pub(crate) fn map(&mut self) -> Result<(u8, u8, usize), WireError> {
        let (key, value) = (self.u8()?, self.u8()?);
        let count = self.i32()?;
        if count == 0 {
            return Ok((key, value, 0)); // Some peers write no types for an empty map.
        }
        let size = min_size(key)?.saturating_add(min_size(value)?);
        Ok((key, value, self.fits(count, size)?))
    }

    fn fits(&self, count: i32, size: usize) -> Result<usize, WireError> {
        let wanted = usize::try_from(count).map_err(|_| WireError::Count(count))?;
        match wanted.checked_mul(size) {
            Some(bytes) if bytes <= self.remaining() => Ok(wanted),
            _ => Err(WireError::Count(count)),
        }
    }

    /// Passes over a value of a type.
    pub(crate) fn skip(&mut self, kind: u8, depth: usize) -> Result<(), WireError> {
        let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
        match kind {
            kind::BOOL | kind::I8 => drop(self.take(1)?),
            kind::I16 => drop(self.take(2)?),
            kind::I32 => drop(self.take(4)?),
            kind::I64 | kind::DOUBLE => drop(self.take(8)?),
            kind::UUID => drop(self.take(16)?),
            kind::STRING => drop(self.bytes()?),
            kind::STRUCT => {
                while let Some((kind, _)) = self.field()? {
                    self.skip(kind, depth)?;
                }
            }
            kind::LIST | kind::SET => {
                let (kind, count) = self.sequence()?;
                for _ in 0..count {
                    self.skip(kind, depth)?;
                }
            }
            kind::MAP => {
                let (key, value, count) = self.map()?;
                for _ in 0..count {
                    self.skip(key, depth)?;
                    self.skip(value, depth)?;
                }
            }
            other => return Err(WireError::Kind(other)),
        }
        Ok(())
    }
}

/// The fewest bytes a value of a type takes.
fn min_size(kind: u8) -> Result<usize, WireError> {
    match kind {
        kind::BOOL | kind::I8 | kind::STRUCT => Ok(1),
        kind::I16 => Ok(2),
        kind::I32 | kind::STRING => Ok(4),
        kind::I64 | kind::DOUBLE => Ok(8),
        kind::LIST | kind::SET => Ok(5),
        kind::MAP => Ok(6),
        kind::UUID => Ok(16),
        // An empty list may name no type at all; a full one may not.
        kind::STOP => Ok(usize::MAX),
        other => Err(WireError::Kind(other)),
    }
}

/// Appends values to a vector.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    #[inline]
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    #[inline]
    pub(crate) fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn f64(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.bytes.reserve(4 + value.len());
        self.count(value.len());
        self.bytes.extend_from_slice(value);
    }

    #[inline]
    pub(crate) fn field(&mut self, kind: u8, id: i16) {
        let [high, low] = id.to_be_bytes();
        self.bytes.extend_from_slice(&[kind, high, low]);
    }

    #[inline]
    pub(crate) fn stop(&mut self) {
        self.u8(kind::STOP);
    }

    /// A length or count; messages are far smaller than an i32 can say.
    #[inline]
    pub(crate) fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_checked_before_anything_is_read() {
        let bomb = [kind::I64, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&bomb).sequence(), Err(WireError::Count(i32::MAX)));
        let negative = [kind::I64, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&negative).sequence(), Err(WireError::Count(-1)));
        let empty_structs = [kind::STRUCT, 0, 0, 0, 2, 0];
        assert_eq!(Reader::new(&empty_structs).sequence(), Err(WireError::Count(2)));
        let untyped = [kind::STOP, 0, 0, 0, 1, 0];
        assert!(Reader::new(&untyped).sequence().is_err());
        assert_eq!(Reader::new(&[kind::STOP, 0, 0, 0, 0]).sequence(), Ok((kind::STOP, 0)));
        let untyped_map = [kind::STOP, kind::I8, 0, 0, 0, 1, 0];
        assert_eq!(Reader::new(&untyped_map).map(), Err(WireError::Count(1)));
    }

    #[test]
    fn values_that_are_none_are_refused() {
        assert!(Reader::new(&[2]).bool().is_err(), "a bool of 2");
        assert_eq!(Reader::new(&[0, 0, 0, 1, 0xff]).string(), Err(WireError::Utf8));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).bytes(), Err(WireError::Count(-1)));
        assert_eq!(Reader::new(&[]).skip(99, DEPTH), Err(WireError::Kind(99)));
        let no_stop = [kind::BOOL, 0, 1, 1];
        assert_eq!(Reader::new(&no_stop).skip(kind::STRUCT, DEPTH), Err(WireError::Truncated));
        let many = [kind::BOOL, 0x3b, 0x9a, 0xca, 0];
        assert_eq!(Reader::new(&many).sequence(), Err(WireError::Count(1_000_000_000)));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut nested = Vec::new();
        for _ in 0..DEPTH + 1 {
            nested.extend([kind::LIST, 0, 0, 0, 1]);
        }
        assert_eq!(Reader::new(&nested).skip(kind::LIST, DEPTH), Err(WireError::Depth));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            // Mostly type bytes and small counts: noise ends at its first byte.
            bytes in prop::collection::vec(prop_oneof![3 => 0_u8..18, 1 => any::<u8>()], 0..200),
            kind in 0_u8..18,
        ) {
            let _ = Reader::new(&bytes).skip(kind, DEPTH);
        }
    }
}
