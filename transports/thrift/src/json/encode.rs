//! JSON to Thrift, while it is parsed: there is no tree between them.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use super::scalar::{Number, expected, write_bool, write_number, write_text};
use super::seen::Seen;
use super::{Json, ValueError};
use crate::MAX_MESSAGE;
use crate::idl::{Descriptor, Field, Fields, Function, Requiredness, Type};
use crate::wire::{DEPTH, Writer, kind};

type Result<T> = std::result::Result<T, ValueError>;

/// How deep JSON may nest.
pub const JSON_DEPTH: usize = 32;

/// The argument struct of a call. A function with one struct argument takes
/// that struct, any other an object keyed by argument names; one without
/// arguments takes anything.
pub fn write_arguments(idl: &Descriptor, function: &Function, json: Json<'_>) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(idl, json.size());
    match function.only_struct() {
        Some(only) => {
            // Paths begin inside it: its name is not part of what the caller sent.
            encoder.out.field(kind::STRUCT, only.id);
            encoder.run(json, Shape::Value(&only.ty))?;
            encoder.out.stop();
        }
        None if function.takes_nothing() => {
            encoder.run(json, Shape::Anything)?;
            encoder.out.stop();
        }
        None => encoder.run(json, Shape::Fields(&function.arguments, false))?,
    }
    encoder.finish()
}

/// The result struct of a function that returned `json`.
pub fn write_result(idl: &Descriptor, function: &Function, json: Json<'_>) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(idl, json.size());
    if let Some(ty) = &function.result {
        encoder.out.field(ty.kind(), 0);
        encoder.run(json, Shape::Value(ty))?;
    }
    encoder.out.stop();
    encoder.finish()
}

/// The result struct of a function that threw the declared exception `name`.
pub fn write_exception(
    idl: &Descriptor,
    function: &Function,
    name: &str,
    json: Json<'_>,
) -> Result<Vec<u8>> {
    let is_meant = |field: &&Field| match field.ty {
        Type::Struct(place) => idl.structs[place].name == name,
        _ => false,
    };
    let declared = function.exceptions.all().iter().find(is_meant);
    let declared = declared.ok_or_else(|| ValueError::new("the exception is not declared"))?;
    let mut encoder = Encoder::new(idl, json.size());
    encoder.out.field(declared.ty.kind(), declared.id);
    encoder.run(json, Shape::Value(&declared.ty))?;
    encoder.out.stop();
    encoder.finish()
}

/// A default of the IDL. Structs have none, so no descriptor is needed.
pub(crate) fn encode_default(ty: &Type, value: &Value) -> Result<Vec<u8>> {
    let none = Descriptor::default();
    let mut encoder = Encoder::new(&none, 0);
    encoder.run(Json::Value(value), Shape::Value(ty))?;
    encoder.finish()
}

/// The state of one conversion.
struct Encoder<'a> {
    idl: &'a Descriptor,
    out: Writer,
    depth: usize,
    /// Why it failed, where it was not the JSON itself.
    problem: Option<ValueError>,
    /// Where the keys of open maps are in what was written.
    keys: Vec<(usize, usize)>,
}

/// What is expected next.
#[derive(Clone, Copy)]
enum Shape<'a> {
    /// Whatever it is, it is passed over.
    Anything,
    /// The fields of a struct, a union's if so marked.
    Fields(&'a Fields, bool),
    Value(&'a Type),
}

impl<'a> Encoder<'a> {
    fn new(idl: &'a Descriptor, size: usize) -> Self {
        let out = Writer { bytes: Vec::with_capacity(size.min(MAX_MESSAGE) + 64) };
        Self { idl, out, depth: 0, problem: None, keys: Vec::new() }
    }

    fn finish(self) -> Result<Vec<u8>> {
        match self.out.bytes.len() {
            0..=MAX_MESSAGE => Ok(self.out.bytes),
            _ => Err(ValueError::new(TOO_LARGE)),
        }
    }

    fn run(&mut self, json: Json<'_>, shape: Shape<'a>) -> Result<()> {
        let ended = match json {
            Json::Text(text) => {
                // Once for the whole text, and not once for every string in it.
                let text = std::str::from_utf8(text).map_err(|error| {
                    let at = error.valid_up_to();
                    ValueError::new(format!("is not UTF-8 at byte {at}"))
                })?;
                let mut parser = serde_json::Deserializer::from_str(text);
                let ended = Seed { encoder: self, shape }.deserialize(&mut parser);
                ended.and_then(|written| parser.end().map(|()| written))
            }
            Json::Value(value) => Seed { encoder: self, shape }.deserialize(value),
        };
        match ended {
            Ok(Written::Something) => Ok(()),
            Ok(Written::Null) => match shape {
                Shape::Anything => Ok(()),
                Shape::Fields(..) => Err(ValueError::new("must be an object")),
                Shape::Value(ty) => Err(expected(ty)),
            },
            Err(error) => {
                Err(self.problem.take().unwrap_or_else(|| ValueError::new(error.to_string())))
            }
        }
    }

    /// Keeps why it failed and unwinds. The error of the parser has no room for it.
    fn fail<E: serde::de::Error>(&mut self, problem: ValueError) -> E {
        self.problem = Some(problem);
        E::custom("")
    }

    fn check<T, E: serde::de::Error>(&mut self, result: Result<T>) -> std::result::Result<T, E> {
        result.map_err(|problem| self.fail(problem))
    }

    fn deeper<E: serde::de::Error>(&mut self) -> std::result::Result<(), E> {
        self.depth += 1;
        if self.depth > JSON_DEPTH {
            return Err(self.fail(ValueError::new("nests too deep")));
        }
        self.bounded()
    }

    /// Zeros and defaults are longer than what stands for them in JSON.
    #[inline]
    fn bounded<E: serde::de::Error>(&mut self) -> std::result::Result<(), E> {
        match self.out.bytes.len() {
            0..=MAX_MESSAGE => Ok(()),
            _ => Err(self.fail(ValueError::new(TOO_LARGE))),
        }
    }

    fn fields<'de, A: MapAccess<'de>>(
        &mut self,
        fields: &'a Fields,
        is_union: bool,
        mut map: A,
    ) -> std::result::Result<(), A::Error> {
        let mut seen = Seen::new(fields.all().len());
        let mut next = 0;
        while let Some(found) = map.next_key_seed(Name { fields, next })? {
            let Some(place) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            next = place + 1;
            let field = &fields.all()[place];
            if seen.has(place) {
                return Err(self.fail(ValueError::new("is there twice").in_field(&field.name)));
            }
            if is_union && !seen.is_empty() {
                return Err(self.fail(ValueError::new(ONE_OF_UNION)));
            }
            let start = self.out.bytes.len();
            self.out.field(field.ty.kind(), field.id);
            let seed = Seed { encoder: self, shape: Shape::Value(&field.ty) };
            match map.next_value_seed(seed) {
                Ok(Written::Something) => drop(seen.insert(place)),
                Ok(Written::Null) => self.out.bytes.truncate(start), // As if it were absent.
                Err(error) => return Err(self.in_field(&field.name, error)),
            }
        }
        if is_union && seen.is_empty() {
            return Err(self.fail(ValueError::new(ONE_OF_UNION)));
        }
        let absent = |(place, _): &(usize, &Field)| !seen.has(*place);
        for (_, field) in fields.all().iter().enumerate().filter(absent) {
            let written = self.absent(field, DEPTH).map_err(|e| e.in_field(&field.name));
            self.check(written)?;
        }
        self.out.stop();
        self.bounded()
    }

    /// Writes what stands for an absent field: its default, a zero, or nothing.
    fn absent(&mut self, field: &'a Field, depth: usize) -> Result<()> {
        match (&field.default, field.requiredness) {
            (Some(default), _) => {
                self.out.field(field.ty.kind(), field.id);
                self.out.bytes.extend(&default.thrift);
                Ok(())
            }
            (None, Requiredness::Optional) => Ok(()),
            (None, Requiredness::Default | Requiredness::Required) => {
                self.out.field(field.ty.kind(), field.id);
                self.zero(&field.ty, depth)
            }
        }
    }

    /// A struct that contains itself has no zero; the depth limit says so.
    fn zero(&mut self, ty: &'a Type, depth: usize) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| ValueError::new("nests too deep"))?;
        if self.out.bytes.len() > MAX_MESSAGE {
            return Err(ValueError::new(TOO_LARGE));
        }
        match ty {
            Type::Bool | Type::I8 => self.out.u8(0),
            Type::I16 => self.out.i16(0),
            Type::Binary | Type::Enum(_) | Type::I32 | Type::String => self.out.i32(0),
            Type::Double | Type::I64 => self.out.i64(0),
            Type::List(element) | Type::Set(element) => self.sequence_head(element, 0),
            Type::Map(key, element) => self.map_head(key, element, 0),
            Type::Struct(place) => {
                let idl = self.idl;
                let described = &idl.structs[*place];
                if described.is_union {
                    return Err(ValueError::new(ONE_OF_UNION));
                }
                for field in described.fields.all() {
                    self.absent(field, depth)?;
                }
                self.out.stop();
            }
        }
        Ok(())
    }

    fn sequence_head(&mut self, element: &Type, count: usize) {
        self.out.u8(element.kind());
        self.out.count(count);
    }

    fn map_head(&mut self, key: &Type, element: &Type, count: usize) {
        self.out.u8(key.kind());
        self.out.u8(element.kind());
        self.out.count(count);
    }

    /// The count comes before the elements on the wire and after them in JSON.
    fn sequence<'de, A: SeqAccess<'de>>(
        &mut self,
        element: &'a Type,
        mut sequence: A,
    ) -> std::result::Result<(), A::Error> {
        self.sequence_head(element, 0);
        let head = self.out.bytes.len();
        let mut count = 0;
        loop {
            let seed = Seed { encoder: self, shape: Shape::Value(element) };
            match sequence.next_element_seed(seed) {
                Ok(Some(Written::Something)) => count += 1,
                Ok(Some(Written::Null)) => {
                    return Err(self.fail(expected(element).in_element(count)));
                }
                Ok(None) => break,
                Err(error) => return Err(self.in_element(count, error)),
            }
        }
        self.set_count(head, count);
        Ok(())
    }

    fn map<'de, A: MapAccess<'de>>(
        &mut self,
        key: &'a Type,
        element: &'a Type,
        mut map: A,
    ) -> std::result::Result<(), A::Error> {
        self.map_head(key, element, 0);
        let head = self.out.bytes.len();
        let first = self.keys.len();
        while map.next_key_seed(Key { encoder: self, ty: key })?.is_some() {
            let seed = Seed { encoder: self, shape: Shape::Value(element) };
            match map.next_value_seed(seed) {
                Ok(Written::Something) => {}
                Ok(Written::Null) => {
                    let name = self.last_key(key);
                    return Err(self.fail(expected(element).in_field(&name)));
                }
                Err(error) => {
                    let name = self.last_key(key);
                    return Err(self.in_field(&name, error));
                }
            }
        }
        let count = self.keys.len() - first;
        if self.has_twins(first) {
            return Err(self.fail(ValueError::new("has a key twice")));
        }
        self.keys.truncate(first);
        self.set_count(head, count);
        Ok(())
    }

    /// Whether two keys are the same on the wire, as `1` and `01` are.
    fn has_twins(&mut self, first: usize) -> bool {
        let bytes = &self.out.bytes;
        let keys = &mut self.keys[first..];
        let text = |&(start, end): &(usize, usize)| &bytes[start..end];
        keys.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        keys.windows(2).any(|pair| text(&pair[0]) == text(&pair[1]))
    }

    /// The key that was written last, for an error's path. Numbers are shown as
    /// they were meant.
    fn last_key(&self, ty: &Type) -> String {
        let Some((start, end)) = self.keys.last().copied() else { return String::new() };
        super::decode::key_text(ty, &self.out.bytes[start..end])
    }

    fn set_count(&mut self, head: usize, count: usize) {
        let count = i32::try_from(count).unwrap_or(i32::MAX); // Bounded by the message.
        self.out.bytes[head - 4..head].copy_from_slice(&count.to_be_bytes());
    }

    fn in_field<E>(&mut self, name: &str, error: E) -> E {
        self.problem = self.problem.take().map(|problem| problem.in_field(name));
        error
    }

    fn in_element<E>(&mut self, index: usize, error: E) -> E {
        self.problem = self.problem.take().map(|problem| problem.in_element(index));
        error
    }
}

const TOO_LARGE: &str = "becomes larger than a message may be";
const ONE_OF_UNION: &str = "must have exactly one field, for it is a union";

/// Whether a value stood there.
enum Written {
    Null,
    Something,
}

/// Reads one value and writes it.
struct Seed<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    shape: Shape<'a>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Written;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Written, D::Error> {
        match self.shape {
            Shape::Anything => {
                deserializer.deserialize_ignored_any(IgnoredAny)?;
                Ok(Written::Something)
            }
            Shape::Fields(..) | Shape::Value(_) => deserializer.deserialize_any(self),
        }
    }
}

impl Seed<'_, '_> {
    /// Writes a value that is no container.
    #[inline]
    fn scalar<E: serde::de::Error>(
        self,
        write: impl FnOnce(&Type, &mut Writer) -> Result<()>,
    ) -> std::result::Result<Written, E> {
        let written = match self.shape {
            Shape::Value(ty) => write(ty, &mut self.encoder.out),
            Shape::Anything | Shape::Fields(..) => Err(ValueError::new("must be an object")),
        };
        self.encoder.check(written).map(|()| Written::Something)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> std::result::Result<Written, E> {
        self.scalar(|ty, out| write_bool(ty, value, out))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<Written, E> {
        self.scalar(|ty, out| write_number(ty, Number::Signed(value), out))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Written, E> {
        self.scalar(|ty, out| write_number(ty, Number::Unsigned(value), out))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Written, E> {
        self.scalar(|ty, out| write_number(ty, Number::Double(value), out))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<Written, E> {
        self.scalar(|ty, out| write_text(ty, value, out))
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Written, E> {
        Ok(Written::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> std::result::Result<Written, A::Error> {
        match self.shape {
            Shape::Value(Type::List(element) | Type::Set(element)) => {
                self.encoder.deeper()?;
                self.encoder.sequence(element, sequence)?;
                self.encoder.depth -= 1;
                Ok(Written::Something)
            }
            Shape::Value(ty) => Err(self.encoder.fail(expected(ty))),
            Shape::Anything | Shape::Fields(..) => {
                Err(self.encoder.fail(ValueError::new("must be an object")))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Written, A::Error> {
        let encoder = self.encoder;
        encoder.deeper()?;
        match self.shape {
            Shape::Value(Type::Map(key, element)) => encoder.map(key, element, map)?,
            Shape::Value(Type::Struct(place)) => {
                let idl = encoder.idl;
                let described = &idl.structs[*place];
                encoder.fields(&described.fields, described.is_union, map)?;
            }
            Shape::Fields(fields, is_union) => encoder.fields(fields, is_union, map)?,
            Shape::Value(ty) => return Err(encoder.fail(expected(ty))),
            Shape::Anything => return Err(A::Error::custom("nothing was expected")),
        }
        encoder.depth -= 1;
        Ok(Written::Something)
    }
}

/// Reads the name of a field; `None` for one that nobody declared.
struct Name<'a> {
    fields: &'a Fields,
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<Self::Value, E> {
        Ok(self.fields.named(name, self.next))
    }
}

/// Reads the key of a map and writes it.
struct Key<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    ty: &'a Type,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of a map")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> std::result::Result<(), E> {
        let start = self.encoder.out.bytes.len();
        let written = write_text(self.ty, key, &mut self.encoder.out);
        let written = written.map_err(|problem| problem.in_field(key));
        self.encoder.check(written)?;
        let end = self.encoder.out.bytes.len();
        self.encoder.keys.push((start, end));
        Ok(())
    }
}
