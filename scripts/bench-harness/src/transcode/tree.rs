//! The way over a tree: parse into `serde_json::Value`, walk it by the IDL.

use portolan::thrift::idl::{Descriptor, Function, Type};
use serde_json::{Map, Number, Value};

fn kind(ty: &Type) -> u8 {
    match ty {
        Type::Bool => 2,
        Type::I8 => 3,
        Type::Double => 4,
        Type::I16 => 6,
        Type::Enum(_) | Type::I32 => 8,
        Type::I64 => 10,
        Type::Binary | Type::String => 11,
        Type::Struct(_) => 12,
        Type::Map(..) => 13,
        Type::Set(_) => 14,
        Type::List(_) => 15,
    }
}

/// The argument struct of a function that takes one struct.
pub fn write(idl: &Descriptor, function: &Function, json: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).expect("JSON");
    let argument = &function.arguments()[0];
    let mut out = vec![12];
    out.extend(argument.id.to_be_bytes());
    put(idl, &argument.ty, &value, &mut out);
    out.push(0);
    out
}

fn put(idl: &Descriptor, ty: &Type, value: &Value, out: &mut Vec<u8>) {
    let text = |text: &str, out: &mut Vec<u8>| {
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text.as_bytes());
    };
    match ty {
        Type::Bool => out.push(u8::from(value.as_bool().expect("a bool"))),
        Type::Double => out.extend(value.as_f64().expect("a double").to_be_bytes()),
        Type::I32 => out.extend((value.as_i64().expect("a number") as i32).to_be_bytes()),
        Type::I64 => out.extend(value.as_i64().expect("a number").to_be_bytes()),
        Type::String => text(value.as_str().expect("text"), out),
        Type::List(element) => {
            let values = value.as_array().expect("an array");
            out.push(kind(element));
            out.extend((values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| put(idl, element, value, out));
        }
        Type::Map(_, element) => {
            let pairs = value.as_object().expect("an object");
            out.extend([11, kind(element)]);
            out.extend((pairs.len() as u32).to_be_bytes());
            for (key, value) in pairs {
                text(key, out);
                put(idl, element, value, out);
            }
        }
        Type::Struct(place) => {
            let object = value.as_object().expect("an object");
            for field in idl.structure(*place).fields() {
                if let Some(value) = object.get(&field.name) {
                    out.push(kind(&field.ty));
                    out.extend(field.id.to_be_bytes());
                    put(idl, &field.ty, value, out);
                }
            }
            out.push(0);
        }
        _ => unreachable!("not in the IDL of the benchmark"),
    }
}

/// The JSON of a result.
pub fn read(idl: &Descriptor, function: &Function, bytes: &[u8]) -> Vec<u8> {
    let mut rest = &bytes[3..];
    let value = get(idl, &function.arguments()[0].ty, &mut rest);
    serde_json::to_vec(&value).expect("a value")
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn number<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    take(rest, N).try_into().expect("so many bytes")
}

fn text(rest: &mut &[u8]) -> String {
    let length = u32::from_be_bytes(number(rest)) as usize;
    String::from_utf8(take(rest, length).to_vec()).expect("UTF-8")
}

fn get(idl: &Descriptor, ty: &Type, rest: &mut &[u8]) -> Value {
    match ty {
        Type::Bool => Value::Bool(take(rest, 1)[0] != 0),
        Type::Double => {
            Number::from_f64(f64::from_be_bytes(number(rest))).map_or(Value::Null, Value::Number)
        }
        Type::I32 => i32::from_be_bytes(number(rest)).into(),
        Type::I64 => i64::from_be_bytes(number(rest)).into(),
        Type::String => text(rest).into(),
        Type::List(element) => {
            take(rest, 1);
            let count = u32::from_be_bytes(number(rest));
            (0..count).map(|_| get(idl, element, rest)).collect()
        }
        Type::Map(_, element) => {
            take(rest, 2);
            let count = u32::from_be_bytes(number(rest));
            (0..count).map(|_| (text(rest), get(idl, element, rest))).collect::<Map<_, _>>().into()
        }
        Type::Struct(place) => {
            let mut object = Map::new();
            while take(rest, 1)[0] != 0 {
                let id = i16::from_be_bytes(number(rest));
                let mut fields = idl.structure(*place).fields().iter();
                let field = fields.find(|field| field.id == id).expect("a field of the IDL");
                let value = get(idl, &field.ty, rest);
                object.insert(field.name.clone(), value);
            }
            Value::Object(object)
        }
        _ => unreachable!("not in the IDL of the benchmark"),
    }
}
