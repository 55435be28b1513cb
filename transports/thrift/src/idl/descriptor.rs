//! What is left of an IDL when it is understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// A checked IDL. Structs may contain each other, so types point to them by
/// place.
#[derive(Clone, Debug, Default)]
pub struct Descriptor {
    pub(crate) structs: Vec<StructType>,
    pub(crate) services: BTreeMap<String, Service>,
}

impl Descriptor {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    /// The names of all services, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    pub(crate) fn fields(&self, place: usize) -> &[Field] {
        &self.structs[place].fields
    }
}

/// A service: its functions by name, inherited ones included.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub(crate) functions: BTreeMap<String, Arc<Function>>,
}

impl Service {
    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// The names of all functions, in order.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }
}

/// One function of a service.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether nobody answers.
    pub oneway: bool,
    pub(crate) arguments: Vec<Field>,
    /// `None` for void.
    pub(crate) result: Option<Type>,
    pub(crate) exceptions: Vec<Field>,
}

impl Function {
    /// The one argument, if it is a struct: then a caller's object is that struct.
    pub(crate) fn only_struct(&self) -> Option<&Field> {
        match &self.arguments[..] {
            [only] if matches!(only.ty, Type::Struct(_)) => Some(only),
            _ => None,
        }
    }

    /// Whether it can be called without an argument.
    pub fn takes_nothing(&self) -> bool {
        self.arguments.is_empty()
    }

    /// Whether its result is a bare string.
    pub fn returns_string(&self) -> bool {
        matches!(self.result, Some(Type::String))
    }
}

/// A struct, union or exception.
#[derive(Clone, Debug)]
pub struct StructType {
    /// Its name.
    pub name: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) is_union: bool,
    pub(crate) is_exception: bool,
}

/// A field, argument or declared exception.
#[derive(Clone, Debug)]
pub struct Field {
    /// The number on the wire.
    pub id: i16,
    /// The name in JSON.
    pub name: String,
    /// Whether it must be there.
    pub requiredness: Requiredness,
    pub(crate) ty: Type,
    /// The value of an absent field, as JSON.
    pub(crate) default: Option<Value>,
}

/// Whether a field must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requiredness {
    /// Written always, expected never.
    Default,
    /// Left out when absent.
    Optional,
    /// Always there.
    Required,
}

/// The type of a value.
#[derive(Clone, Debug)]
pub enum Type {
    /// Bytes, base64 in JSON.
    Binary,
    /// True or false.
    Bool,
    /// A double.
    Double,
    /// A number with names.
    Enum(Arc<EnumType>),
    /// 8 bits.
    I8,
    /// 16 bits.
    I16,
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// A list.
    List(Arc<Self>),
    /// A map.
    Map(Arc<Self>, Arc<Self>),
    /// A list on the wire, without repetition by agreement.
    Set(Arc<Self>),
    /// Text.
    String,
    /// A struct, by its place in the descriptor.
    Struct(usize),
}

/// The names of an enum's numbers.
#[derive(Clone, Debug)]
pub struct EnumType {
    /// Its name.
    pub name: String,
    pub(crate) values: BTreeMap<String, i32>,
}
