//! JSON to Thrift.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::ValueError;
use crate::MAX_MESSAGE;
use crate::idl::{Descriptor, EnumType, Field, Function, Requiredness, Type};
use crate::wire::{DEPTH, Writer, kind};

type Result<T> = std::result::Result<T, ValueError>;

/// The argument struct of a call. A function with one struct argument takes
/// that struct, any other an object keyed by argument names; one without
/// arguments takes anything.
pub fn write_arguments(idl: &Descriptor, function: &Function, value: &Value) -> Result<Vec<u8>> {
    let mut writer = Encoder::new(idl);
    match function.only_struct() {
        Some(only) => {
            // Paths begin inside it: its name is not part of what the caller sent.
            writer.out.field(kind::STRUCT, only.id);
            writer.value(&only.ty, value)?;
            writer.out.stop();
        }
        None if function.takes_nothing() => writer.out.stop(),
        None => writer.fields(&function.arguments, value, false)?,
    }
    Ok(writer.out.bytes)
}

/// The result struct of a function that returned `value`.
pub fn write_result(idl: &Descriptor, function: &Function, value: &Value) -> Result<Vec<u8>> {
    let mut writer = Encoder::new(idl);
    if let Some(ty) = &function.result {
        writer.out.field(kind_of(ty), 0);
        writer.value(ty, value)?;
    }
    writer.out.stop();
    Ok(writer.out.bytes)
}

/// The result struct of a function that threw the declared exception `name`.
pub fn write_exception(
    idl: &Descriptor,
    function: &Function,
    name: &str,
    value: &Value,
) -> Result<Vec<u8>> {
    let is_meant = |field: &&Field| match field.ty {
        Type::Struct(place) => idl.structs[place].name == name,
        _ => false,
    };
    let declared = function.exceptions.iter().find(is_meant);
    let declared = declared.ok_or_else(|| ValueError::new("the exception is not declared"))?;
    let mut writer = Encoder::new(idl);
    writer.field(declared, value)?;
    writer.out.stop();
    Ok(writer.out.bytes)
}

/// Whether `value` can be written as a `ty`.
pub(crate) fn write_value(idl: &Descriptor, ty: &Type, value: &Value) -> Result<()> {
    Encoder::new(idl).value(ty, value)
}

struct Encoder<'a> {
    idl: &'a Descriptor,
    out: Writer,
    depth: usize,
}

impl<'a> Encoder<'a> {
    fn new(idl: &'a Descriptor) -> Self {
        Self { idl, out: Writer::default(), depth: 0 }
    }

    fn field(&mut self, field: &Field, value: &Value) -> Result<()> {
        self.out.field(kind_of(&field.ty), field.id);
        self.value(&field.ty, value).map_err(|error| error.in_field(&field.name))
    }

    fn fields(&mut self, fields: &[Field], value: &Value, is_union: bool) -> Result<()> {
        let Value::Object(object) = value else {
            return Err(ValueError::new("must be an object"));
        };
        let mut written = 0;
        for field in fields {
            let given = object.get(&field.name).filter(|value| !value.is_null());
            let value = match (given.or(field.default.as_ref()), field.requiredness) {
                (Some(value), _) => Cow::Borrowed(value),
                (None, Requiredness::Optional) => continue,
                (None, Requiredness::Default | Requiredness::Required) => {
                    Cow::Owned(zero(&field.ty))
                }
            };
            self.field(field, &value)?;
            written += 1;
        }
        if is_union && written != 1 {
            return Err(ValueError::new("must have exactly one field, for it is a union"));
        }
        self.out.stop();
        Ok(())
    }

    fn value(&mut self, ty: &Type, value: &Value) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ValueError::new("nests too deep"));
        }
        // Zeros and defaults are longer than what stands for them in JSON.
        if self.out.bytes.len() > MAX_MESSAGE {
            return Err(ValueError::new("becomes larger than a message may be"));
        }
        match ty {
            Type::Binary => {
                let Value::String(text) = value else {
                    return Err(ValueError::new("must be base64 text"));
                };
                let bytes = STANDARD.decode(text);
                self.out.bytes(&bytes.map_err(|_| ValueError::new("must be base64 text"))?);
            }
            Type::Bool => self.out.u8(u8::from(to_bool(value)?)),
            Type::Double => self.out.f64(to_double(value)?),
            Type::Enum(e) => self.out.i32(to_enum(e, value)?),
            Type::I8 => self.out.u8(integer::<i8>(value)? as u8),
            Type::I16 => self.out.i16(integer(value)?),
            Type::I32 => self.out.i32(integer(value)?),
            Type::I64 => self.out.i64(integer(value)?),
            Type::List(element) | Type::Set(element) => self.sequence(element, value)?,
            Type::Map(key, element) => self.map(key, element, value)?,
            Type::String => self.out.bytes(to_text(value)?.as_bytes()),
            Type::Struct(place) => {
                let described = &self.idl.structs[*place];
                self.fields(&described.fields, value, described.is_union)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn sequence(&mut self, element: &Type, value: &Value) -> Result<()> {
        let Value::Array(values) = value else {
            return Err(ValueError::new("must be an array"));
        };
        self.out.u8(kind_of(element));
        self.out.count(values.len());
        for (index, value) in values.iter().enumerate() {
            self.value(element, value).map_err(|error| error.in_element(index))?;
        }
        Ok(())
    }

    fn map(&mut self, key: &Type, element: &Type, value: &Value) -> Result<()> {
        let Value::Object(pairs) = value else {
            return Err(ValueError::new("must be an object"));
        };
        self.out.u8(kind_of(key));
        self.out.u8(kind_of(element));
        self.out.count(pairs.len());
        for (name, value) in pairs {
            let text = Value::String(name.clone());
            let written = self.value(key, &text).and_then(|()| self.value(element, value));
            written.map_err(|error| error.in_field(name))?;
        }
        Ok(())
    }
}

fn kind_of(ty: &Type) -> u8 {
    match ty {
        Type::Binary | Type::String => kind::STRING,
        Type::Bool => kind::BOOL,
        Type::Double => kind::DOUBLE,
        Type::Enum(_) | Type::I32 => kind::I32,
        Type::I8 => kind::I8,
        Type::I16 => kind::I16,
        Type::I64 => kind::I64,
        Type::List(_) => kind::LIST,
        Type::Map(..) => kind::MAP,
        Type::Set(_) => kind::SET,
        Type::Struct(_) => kind::STRUCT,
    }
}

/// What is written for a field that is not optional and not there. A struct
/// that contains itself has no zero; the depth limit says so.
fn zero(ty: &Type) -> Value {
    match ty {
        Type::Binary | Type::String => Value::from(""),
        Type::Bool => Value::from(false),
        Type::Double | Type::Enum(_) | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
            Value::from(0)
        }
        Type::List(_) | Type::Set(_) => Value::Array(Vec::new()),
        Type::Map(..) | Type::Struct(_) => Value::Object(Map::new()),
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Result<T> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| ValueError::new("must be a whole number"))?;
    T::try_from(number).map_err(|_| ValueError::new("is beyond the range of its type"))
}

fn to_double(value: &Value) -> Result<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(ValueError::new("must be a finite number")),
    }
}

fn to_bool(value: &Value) -> Result<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" || text == "1" => Ok(true),
        Value::String(text) if text == "false" || text == "0" => Ok(false),
        _ => Err(ValueError::new("must be true or false")),
    }
}

fn to_enum(e: &EnumType, value: &Value) -> Result<i32> {
    if let Value::String(text) = value
        && let Some(number) = e.values.get(text)
    {
        return Ok(*number);
    }
    integer(value).map_err(|_| ValueError::new(format!("must be a number or a name of {}", e.name)))
}

fn to_text(value: &Value) -> Result<Cow<'_, str>> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Ok(Cow::Owned(value.to_string())),
        Value::Array(_) | Value::Null | Value::Object(_) => Err(ValueError::new("must be text")),
    }
}
