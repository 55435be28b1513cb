//! Whether the client can read a content header: the same grammar, without recursion.
//!
//! Facts: AMQP 0-9-1, 4.2.3 and 4.2.6.1; tags of values as RabbitMQ has them. Order and
//! types of properties: `basic` in its generated definition.

/// Tables and arrays in each other: more than anybody needs, and few enough.
pub(crate) const MAX_DEPTH: usize = 32;

/// Before the properties stand class, weight, and the size of the body.
const PROPERTIES: usize = 12;

/// How the properties of `basic` are written, the first one being the highest flag.
const KINDS: [Kind; 14] = {
    use Kind::{Byte, Text, Time};
    [
        Text, // content_type
        Text, // content_encoding
        Kind::Table,
        Byte, // delivery_mode
        Byte, // priority
        Text, // correlation_id
        Text, // reply_to
        Text, // expiration
        Text, // message_id
        Time, // timestamp
        Text, // type
        Text, // user_id
        Text, // app_id
        Text, // cluster_id
    ]
};

#[derive(Clone, Copy)]
enum Kind {
    Byte,
    Table,
    Text,
    Time,
}

/// Whether the payload of a header frame can be read.
pub(crate) fn is_fit(payload: &[u8]) -> bool {
    payload.get(PROPERTIES..).is_some_and(|rest| properties(&mut Bytes(rest)).is_some())
}

/// The payload of the same frame without properties; none where it says nothing else.
pub(crate) fn bare(payload: &[u8]) -> Option<Vec<u8>> {
    let front = payload.get(..PROPERTIES)?;
    Some([front, &[0, 0]].concat())
}

/// What is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let digits = self.take(bytes)?;
        Some(digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)))
    }

    /// At most 255 bytes of UTF-8.
    fn text(&mut self) -> Option<()> {
        let length = self.number(1)?;
        std::str::from_utf8(self.take(length)?).ok().map(drop)
    }
}

fn properties(bytes: &mut Bytes<'_>) -> Option<()> {
    let flags = bytes.number(2)?;
    for (place, kind) in KINDS.into_iter().enumerate() {
        if flags & (1 << (15 - place)) == 0 {
            continue;
        }
        match kind {
            Kind::Byte => drop(bytes.take(1)?),
            Kind::Text => bytes.text()?,
            Kind::Time => drop(bytes.take(8)?),
            Kind::Table => {
                let length = bytes.number(4)?;
                table(bytes.take(length)?)?;
            }
        }
    }
    bytes.0.is_empty().then_some(())
}

/// A table or an array that is being read, and what follows it in the one around it.
struct Open<'a> {
    has_names: bool,
    after: &'a [u8],
}

fn table(content: &[u8]) -> Option<()> {
    let mut open = vec![Open { has_names: true, after: &[] }];
    let mut bytes = Bytes(content);
    while let Some(inner) = open.last() {
        if bytes.0.is_empty() {
            bytes.0 = inner.after;
            open.pop();
            continue;
        }
        if inner.has_names {
            bytes.text()?;
        }
        let tag = bytes.number(1)? as u8;
        let size = match tag {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' | b'A' | b'F' => bytes.number(4)?,
            _ => return None,
        };
        let value = bytes.take(size)?;
        if matches!(tag, b'A' | b'F') {
            if open.len() == MAX_DEPTH {
                return None;
            }
            open.push(Open { has_names: tag == b'F', after: bytes.0 });
            bytes.0 = value;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use lapin::protocol::BasicProperties;
    use lapin::types::{AMQPValue, FieldTable};
    use proptest::prelude::*;

    use super::*;

    /// A header frame's payload with these flags and properties.
    fn payload(flags: u16, properties: &[u8]) -> Vec<u8> {
        let front = [&60_u16.to_be_bytes()[..], &[0, 0], &7_u64.to_be_bytes()].concat();
        [&front, &flags.to_be_bytes()[..], properties].concat()
    }

    fn sized(content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32).to_be_bytes()[..], content].concat()
    }

    /// So many tables, each in the one before, or arrays.
    fn nested(depth: usize, tag: u8) -> Vec<u8> {
        let mut inner = Vec::new();
        for level in (1..depth).rev() {
            // The outermost is a table, whatever is in it.
            let name: &[u8] = if tag == b'F' || level == 1 { b"\x01a" } else { b"" };
            inner = [name, &[tag], &sized(&inner)].concat();
        }
        payload(1 << 13, &sized(&inner))
    }

    #[test]
    fn depth_is_bounded_and_nothing_else() {
        for tag in [b'F', b'A'] {
            assert!(is_fit(&nested(1, tag)) && is_fit(&nested(MAX_DEPTH, tag)));
            for deep in [MAX_DEPTH + 1, 1_000, 20_000] {
                assert!(!is_fit(&nested(deep, tag)), "{deep}");
            }
        }
        // Many beside each other are not deep.
        let many = b"\x01aF\0\0\0\0\x01bA\0\0\0\0".repeat(5_000);
        assert!(is_fit(&payload(1 << 13, &sized(&many))));
    }

    #[test]
    fn what_cannot_be_read_is_not_fit() {
        let table = |content: &[u8]| payload(1 << 13, &sized(content));
        assert!(is_fit(&payload(0, b"")) && is_fit(&table(b"")));
        assert!(is_fit(&table(b"\x01aS\0\0\0\x02\xff\xfe")), "a long text may be bytes");
        for bad in [
            payload(0, b"x"),              // More than the flags say.
            payload(1 << 15, b"\x05abc"),  // Less.
            payload(1 << 15, b"\x01\xff"), // No UTF-8.
            payload(1 << 13, b"\0\0\0\x09"),
            table(b"\x01aZ"),
            table(b"\x01\xffV"),
            table(b"\x01aS\xff\xff\xff\xffab"),
            table(b"\x01aF\0\0\0\x01a"),
            b"\0".to_vec(),
            Vec::new(),
        ] {
            assert!(!is_fit(&bad), "{bad:?}");
        }
        let spoilt = payload(1 << 15, b"\x05abc");
        let bare = bare(&spoilt).unwrap();
        assert!(is_fit(&bare) && bare[..12] == spoilt[..12]);
        assert_eq!(super::bare(b"short"), None);
    }

    #[test]
    fn what_the_client_writes_is_fit() {
        let mut inner = FieldTable::default();
        for value in [
            AMQPValue::Boolean(true),
            AMQPValue::ShortShortInt(-1),
            AMQPValue::ShortInt(-1),
            AMQPValue::LongLongInt(1),
            AMQPValue::Double(1.5),
            AMQPValue::Timestamp(1),
            AMQPValue::LongString("long".into()),
            AMQPValue::Void,
        ] {
            inner.insert(format!("{value:?}").into(), value);
        }
        let mut headers = inner.clone();
        headers.insert("inner".into(), AMQPValue::FieldTable(inner.clone()));
        let list = vec![AMQPValue::FieldTable(inner), AMQPValue::Boolean(false)];
        headers.insert("list".into(), AMQPValue::FieldArray(list.into()));
        let properties = BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_headers(headers)
            .with_priority(5)
            .with_message_id("m".into())
            .with_timestamp(1)
            .with_app_id("a".into());
        let written = lapin::protocol::basic::gen_properties(&properties);
        let (bytes, _) = written(Vec::new().into()).map(|done| done.into_inner()).unwrap();
        let front = payload(0, b"");
        assert!(is_fit(&[&front[..12], &bytes].concat()));
    }

    proptest! {
        /// What is fit, the client reads; what it reads may still be too deep.
        #[test]
        fn what_is_fit_the_client_can_read(
            flags in any::<u16>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let payload = payload(flags, &bytes);
            let read = lapin::protocol::basic::parse_properties(&payload[12..]);
            let whole = read.is_ok_and(|(rest, _)| rest.is_empty());
            prop_assert_eq!(is_fit(&payload), whole);
        }
    }
}
