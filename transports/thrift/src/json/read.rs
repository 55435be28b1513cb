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

/// The arguments of a call, in the shape
/// [`write_arguments`](super::write_arguments) takes them.
pub fn read_arguments(idl: &Descriptor, function: &Function, bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader::new(bytes);
    let object = read_fields(idl, &function.arguments, &mut reader, DEPTH)?;
    match function.only_struct() {
        Some(only) => Ok(object.get(&only.name).cloned().unwrap_or(Value::Null)),
        None => Ok(Value::Object(object)),
    }
}

/// The answer in a result struct. Fields nobody declared are passed over.
pub fn read_result(idl: &Descriptor, function: &Function, bytes: &[u8]) -> Result<Answer> {
    let mut reader = Reader::new(bytes);
    let mut result = None;
    while let Some((kind, id)) = reader.field()? {
        if let (0, Some(ty)) = (id, &function.result) {
            result = Some(read_value(idl, ty, kind, &mut reader, DEPTH)?);
            continue;
        }
        let thrown = function.exceptions.iter().find(|field| field.id == id);
        match thrown.map(|field| &field.ty) {
            Some(ty @ Type::Struct(place)) => {
                return Ok(Answer::Exception {
                    name: idl.structs[*place].name.clone(),
                    value: read_value(idl, ty, kind, &mut reader, DEPTH)?,
                });
            }
            Some(_) | None => reader.skip(kind, DEPTH)?,
        }
    }
    match (result, &function.result) {
        (Some(value), _) => Ok(Answer::Result(value)),
        (None, None) => Ok(Answer::Result(Value::Null)),
        (None, Some(_)) => Err(ValueError::new("the answer holds no result")),
    }
}

fn read_fields(
    idl: &Descriptor,
    fields: &[Field],
    reader: &mut Reader<'_>,
    depth: usize,
) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for field in fields {
        if let Some(default) = &field.default {
            object.insert(field.name.clone(), default.clone());
        }
    }
    while let Some((kind, id)) = reader.field()? {
        match fields.iter().find(|field| field.id == id) {
            Some(field) => {
                let value = read_value(idl, &field.ty, kind, reader, depth);
                let value = value.map_err(|error| error.in_field(&field.name))?;
                object.insert(field.name.clone(), value);
            }
            None => reader.skip(kind, depth)?,
        }
    }
    Ok(object)
}

fn read_value(
    idl: &Descriptor,
    ty: &Type,
    found: u8,
    reader: &mut Reader<'_>,
    depth: usize,
) -> Result<Value> {
    let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
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
            let (kind, count) = reader.sequence()?;
            let mut values = Vec::new();
            for index in 0..count {
                let value = read_value(idl, element, kind, reader, depth);
                values.push(value.map_err(|error| error.in_element(index))?);
            }
            Value::Array(values)
        }
        (Type::Map(key, element), kind::MAP) => {
            let (key_kind, kind, count) = reader.map()?;
            let mut object = Map::new();
            for _ in 0..count {
                let name = match read_value(idl, key, key_kind, reader, depth)? {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                let value = read_value(idl, element, kind, reader, depth);
                let value = value.map_err(|error| error.in_field(&name))?;
                object.insert(name, value);
            }
            Value::Object(object)
        }
        (Type::String, kind::STRING) => Value::from(reader.string()?),
        (Type::Struct(place), kind::STRUCT) => {
            Value::Object(read_fields(idl, idl.fields(*place), reader, depth)?)
        }
        (_, found) => {
            return Err(ValueError::new(format!("is of another type on the wire ({found})")));
        }
    })
}

impl From<WireError> for ValueError {
    fn from(error: WireError) -> Self {
        Self::new(error.to_string())
    }
}
