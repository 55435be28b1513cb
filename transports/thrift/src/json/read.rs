//! Thrift to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::ValueError;
use crate::idl::{Descriptor, Field, Function, Type};
use crate::wire::{DEPTH, Reader, WireError, kind};

type Result<T> = std::result::Result<T, ValueError>;

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A declared exception.
    Exception {
        /// The exception's type.
        name: String,
        /// Its fields.
        value: Value,
    },
    /// The result; null for void.
    Result(Value),
}

/// The most defaults, in bytes of JSON, that are filled into one message: a list
/// of empty structs is short on the wire.
const MAX_DEFAULTS: usize = 16 << 20;

/// The arguments of a call, in the shape
/// [`write_arguments`](super::write_arguments) takes them.
pub fn read_arguments(idl: &Descriptor, function: &Function, bytes: &[u8]) -> Result<Value> {
    let mut decoder = Decoder::new(idl, bytes);
    let object = decoder.fields(&function.arguments, DEPTH)?;
    match function.only_struct() {
        Some(only) => Ok(object.get(&only.name).cloned().unwrap_or(Value::Null)),
        None => Ok(Value::Object(object)),
    }
}

/// The answer in a result struct. Fields nobody declared are passed over.
pub fn read_result(idl: &Descriptor, function: &Function, bytes: &[u8]) -> Result<Answer> {
    let mut decoder = Decoder::new(idl, bytes);
    let mut result = None;
    while let Some((kind, id)) = decoder.reader.field()? {
        if let (0, Some(ty)) = (id, &function.result) {
            result = Some(decoder.value(ty, kind, DEPTH)?);
            continue;
        }
        let thrown = function.exceptions.iter().find(|field| field.id == id);
        match thrown.map(|field| &field.ty) {
            Some(ty @ Type::Struct(place)) => {
                return Ok(Answer::Exception {
                    name: idl.structs[*place].name.clone(),
                    value: decoder.value(ty, kind, DEPTH)?,
                });
            }
            Some(_) | None => decoder.reader.skip(kind, DEPTH)?,
        }
    }
    match (result, &function.result) {
        (Some(value), _) => Ok(Answer::Result(value)),
        (None, None) => Ok(Answer::Result(Value::Null)),
        (None, Some(_)) => Err(ValueError::new("the answer holds no result")),
    }
}

struct Decoder<'a> {
    idl: &'a Descriptor,
    reader: Reader<'a>,
    /// Bytes of defaults that may still be filled in.
    defaults_left: usize,
}

impl<'a> Decoder<'a> {
    fn new(idl: &'a Descriptor, bytes: &'a [u8]) -> Self {
        Self { idl, reader: Reader::new(bytes), defaults_left: MAX_DEFAULTS }
    }

    fn fields(&mut self, fields: &[Field], depth: usize) -> Result<Map<String, Value>> {
        let mut object = Map::new();
        while let Some((kind, id)) = self.reader.field()? {
            match fields.iter().find(|field| field.id == id) {
                Some(field) => {
                    let value = self.value(&field.ty, kind, depth);
                    let value = value.map_err(|error| error.in_field(&field.name))?;
                    object.insert(field.name.clone(), value);
                }
                None => self.reader.skip(kind, depth)?,
            }
        }
        for field in fields {
            let absent = !object.contains_key(&field.name);
            if let Some(default) = field.default.as_ref().filter(|_| absent) {
                let left = self.defaults_left.checked_sub(default.to_string().len());
                let too_many = || ValueError::new("becomes too large by the defaults of its IDL");
                self.defaults_left = left.ok_or_else(too_many)?;
                object.insert(field.name.clone(), default.clone());
            }
        }
        Ok(object)
    }

    fn value(&mut self, ty: &Type, found: u8, depth: usize) -> Result<Value> {
        let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
        let reader = &mut self.reader;
        Ok(match (ty, found) {
            (Type::Binary, kind::STRING) => Value::from(STANDARD.encode(reader.bytes()?)),
            (Type::Bool, kind::BOOL) => Value::from(reader.bool()?),
            (Type::Double, kind::DOUBLE) => {
                let number = Number::from_f64(reader.f64()?);
                Value::Number(number.ok_or_else(|| ValueError::new("is not a finite number"))?)
            }
            (Type::Enum(_) | Type::I32, kind::I32) => Value::from(reader.i32()?),
            (Type::I8, kind::I8) => Value::from(reader.u8()? as i8),
            (Type::I16, kind::I16) => Value::from(reader.i16()?),
            (Type::I64, kind::I64) => Value::from(reader.i64()?),
            (Type::List(element), kind::LIST) | (Type::Set(element), kind::SET) => {
                self.sequence(element, depth)?
            }
            (Type::Map(key, element), kind::MAP) => self.map(key, element, depth)?,
            (Type::String, kind::STRING) => Value::from(reader.string()?),
            (Type::Struct(place), kind::STRUCT) => {
                let idl = self.idl;
                Value::Object(self.fields(idl.fields(*place), depth)?)
            }
            (_, found) => {
                return Err(ValueError::new(format!("is of another type on the wire ({found})")));
            }
        })
    }

    fn sequence(&mut self, element: &Type, depth: usize) -> Result<Value> {
        let (kind, count) = self.reader.sequence()?;
        let mut values = Vec::new();
        for index in 0..count {
            let value = self.value(element, kind, depth);
            values.push(value.map_err(|error| error.in_element(index))?);
        }
        Ok(Value::Array(values))
    }

    fn map(&mut self, key: &Type, element: &Type, depth: usize) -> Result<Value> {
        let (key_kind, kind, count) = self.reader.map()?;
        let mut object = Map::new();
        for _ in 0..count {
            let name = match self.value(key, key_kind, depth)? {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let value = self.value(element, kind, depth);
            let value = value.map_err(|error| error.in_field(&name))?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

impl From<WireError> for ValueError {
    fn from(error: WireError) -> Self {
        Self::new(error.to_string())
    }
}
