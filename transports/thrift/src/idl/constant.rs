//! Default values, as the JSON a caller could have sent instead.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pilota_thrift_parser as ast;
use serde_json::{Map, Value};

use super::IdlError;
use super::check::{MAX_ALIASES, Names};
use super::descriptor::{Descriptor, Field, Type};
use crate::json;

/// The JSON of a constant that stands where a `ty` is expected.
pub(super) fn lower(
    names: &Names<'_>,
    place: &str,
    ty: &Type,
    value: &ast::ConstValue,
) -> Result<Value, IdlError> {
    lower_through(names, place, ty, value, 0)
}

/// `depth` counts constants that name constants: a circle of them has no end.
fn lower_through(
    names: &Names<'_>,
    place: &str,
    ty: &Type,
    value: &ast::ConstValue,
    depth: usize,
) -> Result<Value, IdlError> {
    let left = names.default_values.get().checked_sub(1);
    let left = left.ok_or_else(|| IdlError::new(place, "has a default that is too large"))?;
    names.default_values.set(left);
    let lower = |ty: &Type, value| lower_through(names, place, ty, value, depth);
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
                return Err(IdlError::new(place, "has a list as its default and is none"));
            };
            let values = values.iter().map(|value| lower(element, value));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        ast::ConstValue::Map(pairs) => {
            let Type::Map(key_type, value_type) = ty else {
                let reason = "has a default in braces, which is supported for maps only";
                return Err(IdlError::new(place, reason));
            };
            let mut map = Map::new();
            for (key, value) in pairs {
                let key = match lower(key_type, key)? {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                map.insert(key, lower(value_type, value)?);
            }
            Value::Object(map)
        }
        ast::ConstValue::Path(path) => named(names, place, ty, path, depth)?,
    })
}

fn named(
    names: &Names<'_>,
    place: &str,
    ty: &Type,
    path: &ast::Path,
    depth: usize,
) -> Result<Value, IdlError> {
    let segments: Vec<_> = path.segments.iter().map(|segment| &**segment).collect();
    if let [of, value] = segments[..]
        && let Some(number) = names.enum_value(of, value)
    {
        return Ok(Value::from(number));
    }
    let name = segments.join(".");
    match names.constants.get(name.as_str()) {
        Some(value) if depth < MAX_ALIASES => lower_through(names, place, ty, value, depth + 1),
        Some(_) => {
            let reason = "names itself, or stands behind too many others";
            Err(IdlError::new(place, format!("the constant {name} {reason}")))
        }
        None => Err(IdlError::new(place, format!("the constant {name} is not defined"))),
    }
}

/// Writes every default once, so that a wrong one is refused now and not when
/// somebody calls.
pub(super) fn check_defaults(descriptor: &Descriptor) -> Result<(), IdlError> {
    let structs = descriptor.structs.iter().map(|s| (s.name.clone(), &s.fields));
    let functions = descriptor.services.iter().flat_map(|(service, described)| {
        let of = move |f: &std::sync::Arc<super::Function>| format!("{service}.{}", f.name);
        described.functions.values().map(move |f| (of(f), &f.arguments))
    });
    for (owner, fields) in structs.chain(functions) {
        for field in fields {
            check_default(descriptor, &owner, field)?;
        }
    }
    Ok(())
}

fn check_default(descriptor: &Descriptor, owner: &str, field: &Field) -> Result<(), IdlError> {
    let Some(default) = &field.default else {
        return Ok(());
    };
    let written = json::write_value(descriptor, &field.ty, default);
    written.map_err(|error| {
        let place = format!("{owner}.{}", field.name);
        IdlError::new(place, format!("has a default that does not fit: {}", error.reason))
    })
}
