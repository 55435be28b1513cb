//! JSON as H2's services have it: what Go's `encoding/json` does with the structs that
//! were made for protobuf.
//!
//! Names are read in any case and written as they are; 64-bit numbers are numbers; what
//! is not known, and `null`, is passed over. Facts: HailoOSS `protobuf`, `generator.go`
//! and `lib.go`. A message derives serde's traits with `#[serde(default)]`, its fields
//! are called as in the `.proto`, and a field of bytes has
//! `#[serde(with = "portolan::h2::json::base64")]`.

use serde::Serialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Reads a message; the error says where it does not fit.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let value = match text.trim_ascii() {
        b"" => Value::Object(serde_json::Map::new()),
        text => serde_json::from_slice(text).map_err(|error| error.to_string())?,
    };
    T::deserialize(Loose(value)).map_err(|error| error.to_string())
}

/// Writes a message.
pub fn write<T: Serialize>(message: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(message).map_err(|error| error.to_string())
}

/// Fields of bytes: base64, as Go writes them.
pub mod base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// As a text.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// From a text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| D::Error::custom("bytes are in base64"))
    }
}

/// A value whose objects have their keys in any case.
struct Loose(Value);

impl<'de> Deserializer<'de> for Loose {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Self)))
            }
            Value::Object(object) => {
                let pairs = object.into_iter().map(|(key, value)| (key, Self(value)));
                visitor.visit_map(MapDeserializer::new(pairs))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Object(object) = self.0 else { return self.deserialize_any(visitor) };
        let mut known: Vec<(&'static str, Self)> = Vec::new();
        for (key, value) in object {
            let exact = fields.iter().find(|field| **field == key);
            let field =
                exact.or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(&key)));
            let Some(field) = field.filter(|_| !value.is_null()) else { continue };
            // The one that is spelled right counts.
            let twice = known.iter().position(|(name, _)| name == field);
            match twice {
                Some(at) if exact.is_some() => known[at].1 = Self(value),
                Some(_) => {}
                None => known.push((field, Self(value))),
            }
        }
        visitor.visit_map(MapDeserializer::new(known.into_iter()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Loose {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Inner {
        some_name: String,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Message {
        number: u64,
        inner: Option<Inner>,
        many: Vec<Inner>,
        #[serde(with = "base64")]
        raw: Vec<u8>,
    }

    #[test]
    fn names_come_in_any_case_and_numbers_are_whole() {
        let inner = |name: &str| Inner { some_name: name.to_owned() };
        let message = Message {
            number: u64::MAX,
            inner: Some(inner("x")),
            many: vec![inner("y")],
            raw: b"\0\xff".to_vec(),
        };
        let text = write(&message).unwrap();
        let expected = r#"{"number":18446744073709551615,"inner":{"someName":"x"},"many":[{"someName":"y"}],"raw":"AP8="}"#;
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(read::<Message>(&text), Ok(message));
        let odd = br#"{"NUMBER": 7, "Inner": {"somename": "z"}, "many": null, "unknown": [1]}"#;
        let read_odd = read::<Message>(odd).unwrap();
        assert_eq!((read_odd.number, read_odd.inner), (7, Some(inner("z"))));
        assert_eq!(read::<Message>(b" "), Ok(Message::default()));
        assert_eq!(read::<Message>(br#"{"number":1,"Number":2}"#).map(|m| m.number), Ok(1));
        for bad in ["[1", "7", r#"{"number":"7"}"#, r#"{"number":-1}"#, r#"{"raw":"?"}"#] {
            assert!(read::<Message>(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert!(read::<Message>(deep.as_bytes()).is_err());
    }
}
