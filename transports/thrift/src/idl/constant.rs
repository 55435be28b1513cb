//! Default values: JSON as a caller could have sent it, and what it becomes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pilota_thrift_parser as ast;
use serde_json::{Map, Value};

use super::IdlError;
use super::descriptor::{Preset, Type};
use super::names::{MAX_ALIASES, Names, segments};
use crate::json;

/// A constant that stands where a `ty` is expected. One that does not fit is
/// refused now, and not when somebody calls.
pub(super) fn preset(
    names: &Names<'_>,
    file: usize,
    place: &str,
    ty: &Type,
    value: &ast::ConstValue,
) -> Result<Preset, IdlError> {
    let value = Lowering { names, place, depth: 0 }.lower(file, ty, value)?;
    let thrift = json::encode_default(ty, &value).map_err(|error| {
        IdlError::new(place, format!("has a default that does not fit: {}", error.reason))
    })?;
    Ok(Preset { json: value.to_string().into(), thrift: thrift.into() })
}

struct Lowering<'a> {
    names: &'a Names<'a>,
    place: &'a str,
    /// Counts constants that name constants: a circle of them has no end.
    depth: usize,
}

impl Lowering<'_> {
    fn error(&self, reason: impl Into<String>) -> IdlError {
        IdlError::new(self.place, reason)
    }

    fn lower(&self, file: usize, ty: &Type, value: &ast::ConstValue) -> Result<Value, IdlError> {
        let left = self.names.default_values.get().checked_sub(1);
        let left = left.ok_or_else(|| self.error("has a default that is too large"))?;
        self.names.default_values.set(left);
        Ok(match value {
            ast::ConstValue::Bool(value) => Value::from(*value),
            ast::ConstValue::Int(value) if matches!(ty, Type::Bool) => Value::from(**value != 0),
            ast::ConstValue::Int(value) => Value::from(**value),
            ast::ConstValue::Double(value) => {
                let number = value.0.parse::<f64>().unwrap_or(f64::NAN);
                Value::from(number)
            }
            ast::ConstValue::String(text) if matches!(ty, Type::Binary) => {
                Value::from(STANDARD.encode(text.as_bytes()))
            }
            ast::ConstValue::String(text) => Value::from(&**text),
            ast::ConstValue::List(values) => {
                let (Type::List(element) | Type::Set(element)) = ty else {
                    return Err(self.error("has a list as its default and is none"));
                };
                let values = values.iter().map(|value| self.lower(file, element, value));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            ast::ConstValue::Map(pairs) => {
                let Type::Map(key_type, value_type) = ty else {
                    let reason = "has a default in braces, which is supported for maps only";
                    return Err(self.error(reason));
                };
                let mut map = Map::new();
                for (key, value) in pairs {
                    let key = match self.lower(file, key_type, key)? {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    map.insert(key, self.lower(file, value_type, value)?);
                }
                Value::Object(map)
            }
            ast::ConstValue::Path(path) => self.named(file, ty, path)?,
        })
    }

    fn named(&self, file: usize, ty: &Type, path: &ast::Path) -> Result<Value, IdlError> {
        let segments = segments(path);
        if let Some(number) = self.names.enum_value(file, &segments) {
            return Ok(Value::from(number));
        }
        let name = segments.join(".");
        match self.names.constant(file, &segments) {
            Some((home, value)) if self.depth < MAX_ALIASES => {
                Self { depth: self.depth + 1, ..*self }.lower(home, ty, value)
            }
            Some(_) => {
                let reason = "names itself, or stands behind too many others";
                Err(self.error(format!("the constant {name} {reason}")))
            }
            None => Err(self.error(format!("the constant {name} is not defined"))),
        }
    }
}
