//! Single values: what a JSON number, text or truth becomes as a Thrift type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ValueError;
use crate::idl::{EnumType, Type};
use crate::wire::Writer;

type Result<T> = std::result::Result<T, ValueError>;

/// A JSON number as it was read.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Signed(i64),
    Unsigned(u64),
    Double(f64),
}

/// The largest double below which every whole number is one.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Number {
    fn whole(self) -> Result<i64> {
        match self {
            Self::Signed(number) => Ok(number),
            Self::Unsigned(number) => i64::try_from(number).map_err(|_| out_of_range()),
            Self::Double(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
                Ok(number as i64)
            }
            Self::Double(number) if number.abs() > EXACT => Err(out_of_range()),
            Self::Double(_) => Err(ValueError::new("must be a whole number")),
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Signed(number) => number as f64,
            Self::Unsigned(number) => number as f64,
            Self::Double(number) => number,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Signed(number) => number.to_string(),
            Self::Unsigned(number) => number.to_string(),
            Self::Double(number) => serde_json::Value::from(number).to_string(),
        }
    }
}

/// Writes a JSON number.
#[inline]
pub(super) fn write_number(ty: &Type, number: Number, out: &mut Writer) -> Result<()> {
    match ty {
        Type::Double => out.f64(finite(number.double())?),
        Type::Enum(_) | Type::I32 => out.i32(narrow(number.whole()?)?),
        Type::I8 => out.u8(narrow::<i8>(number.whole()?)? as u8),
        Type::I16 => out.i16(narrow(number.whole()?)?),
        Type::I64 => out.i64(number.whole()?),
        Type::String => out.bytes(number.text().as_bytes()),
        _ => return Err(expected(ty)),
    }
    Ok(())
}

/// Writes a JSON text: itself, or what it says where something else is wanted,
/// as query strings and keys of objects need it.
#[inline]
pub(super) fn write_text(ty: &Type, text: &str, out: &mut Writer) -> Result<()> {
    let number = || text.trim().parse::<i64>().map_err(|_| expected(ty));
    match ty {
        Type::String => out.bytes(text.as_bytes()),
        Type::Binary => write_base64(text, out)?,
        Type::Bool => match text {
            "true" | "1" => out.u8(1),
            "false" | "0" => out.u8(0),
            _ => return Err(expected(ty)),
        },
        Type::Double => {
            let number = text.trim().parse::<f64>().map_err(|_| expected(ty))?;
            out.f64(finite(number)?);
        }
        Type::Enum(e) => out.i32(match e.values.get(text) {
            Some(number) => *number,
            None => narrow(number()?)?,
        }),
        Type::I8 => out.u8(narrow::<i8>(number()?)? as u8),
        Type::I16 => out.i16(narrow(number()?)?),
        Type::I32 => out.i32(narrow(number()?)?),
        Type::I64 => out.i64(number()?),
        Type::List(_) | Type::Map(..) | Type::Set(_) | Type::Struct(_) => return Err(expected(ty)),
    }
    Ok(())
}

/// Writes true or false.
#[inline]
pub(super) fn write_bool(ty: &Type, value: bool, out: &mut Writer) -> Result<()> {
    match ty {
        Type::Bool => out.u8(u8::from(value)),
        Type::String => out.bytes(if value { b"true" } else { b"false" }),
        _ => return Err(expected(ty)),
    }
    Ok(())
}

/// Decodes in place: the length is known once it is done.
fn write_base64(text: &str, out: &mut Writer) -> Result<()> {
    let start = out.bytes.len();
    let room = base64::decoded_len_estimate(text.len());
    out.bytes.resize(start + 4 + room, 0);
    let decoded = STANDARD.decode_slice(text, &mut out.bytes[start + 4..]);
    let length = decoded.map_err(|_| expected(&Type::Binary))?;
    out.bytes.truncate(start + 4 + length);
    let length = i32::try_from(length).map_err(|_| out_of_range())?;
    out.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T> {
    T::try_from(number).map_err(|_| out_of_range())
}

fn finite(number: f64) -> Result<f64> {
    match number.is_finite() {
        true => Ok(number),
        false => Err(expected(&Type::Double)),
    }
}

fn out_of_range() -> ValueError {
    ValueError::new("is beyond the range of its type")
}

/// What a value of a type has to look like.
pub(super) fn expected(ty: &Type) -> ValueError {
    ValueError::new(match ty {
        Type::Binary => "must be base64 text",
        Type::Bool => "must be true or false",
        Type::Double => "must be a finite number",
        Type::Enum(e) => return must_name(e),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => "must be a whole number",
        Type::List(_) | Type::Set(_) => "must be an array",
        Type::Map(..) | Type::Struct(_) => "must be an object",
        Type::String => "must be text",
    })
}

fn must_name(e: &EnumType) -> ValueError {
    ValueError::new(format!("must be a number or a name of {}", e.name))
}
