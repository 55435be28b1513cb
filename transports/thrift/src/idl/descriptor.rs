//! What is left of an IDL when it is understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::wire::kind;

/// A checked IDL. Structs may contain each other, so types point to them by
/// place.
#[derive(Clone, Debug, Default)]
pub struct Descriptor {
    pub(crate) structs: Vec<StructType>,
    pub(crate) services: BTreeMap<String, Service>,
    /// What it counts for in a cache.
    pub(super) weight: u32,
}

impl Descriptor {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    /// The struct that a [`Type::Struct`] points to.
    pub fn structure(&self, place: usize) -> &StructType {
        &self.structs[place]
    }

    /// The names of all services, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
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
    pub(crate) arguments: Fields,
    /// `None` for void.
    pub(crate) result: Option<Type>,
    pub(crate) exceptions: Fields,
}

impl Function {
    /// The one argument, if it is a struct: then a caller's object is that struct.
    pub(crate) fn only_struct(&self) -> Option<&Field> {
        match self.arguments.all() {
            [only] if matches!(only.ty, Type::Struct(_)) => Some(only),
            _ => None,
        }
    }

    /// The arguments, in order.
    pub fn arguments(&self) -> &[Field] {
        self.arguments.all()
    }

    /// Whether it can be called without an argument.
    pub fn takes_nothing(&self) -> bool {
        self.arguments.all().is_empty()
    }

    /// Whether its result is a bare string.
    pub fn returns_string(&self) -> bool {
        matches!(self.result, Some(Type::String))
    }
}

impl StructType {
    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        self.fields.all()
    }
}

/// A struct, union or exception.
#[derive(Clone, Debug)]
pub struct StructType {
    /// Its name.
    pub name: String,
    pub(crate) fields: Fields,
    pub(crate) is_union: bool,
    pub(crate) is_exception: bool,
}

/// Fields in the order of the IDL, found by name or by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    all: Box<[Field]>,
    by_name: Box<[u16]>,
    by_id: Box<[u16]>,
}

impl Fields {
    /// Names and numbers are checked to be different.
    pub(crate) fn new(all: Vec<Field>) -> Self {
        let sorted = |key: &dyn Fn(&Field, &Field) -> std::cmp::Ordering| {
            // There are at most 32,767 numbers.
            let mut places: Box<[u16]> = (0..all.len() as u16).collect();
            places.sort_by(|a, b| key(&all[usize::from(*a)], &all[usize::from(*b)]));
            places
        };
        let by_name = sorted(&|a, b| a.name.cmp(&b.name));
        let by_id = sorted(&|a, b| a.id.cmp(&b.id));
        Self { all: all.into(), by_name, by_id }
    }

    pub(crate) fn all(&self) -> &[Field] {
        &self.all
    }

    /// The place of a name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        let key = |place: &u16| (*self.all[usize::from(*place)].name).cmp(name);
        let found = self.by_name.binary_search_by(key).ok()?;
        Some(usize::from(self.by_name[found]))
    }

    /// The place of a number. Most writers keep the order of the IDL: `next` is
    /// looked at first.
    #[inline]
    pub(crate) fn numbered(&self, id: i16, next: usize) -> Option<usize> {
        if self.all.get(next).is_some_and(|field| field.id == id) {
            return Some(next);
        }
        let key = |place: &u16| self.all[usize::from(*place)].id.cmp(&id);
        let found = self.by_id.binary_search_by(key).ok()?;
        Some(usize::from(self.by_id[found]))
    }
}

/// A field, argument or declared exception.
#[derive(Clone, Debug)]
pub struct Field {
    /// The number on the wire.
    pub id: i16,
    /// The name in JSON.
    pub name: String,
    /// The name as a JSON key with its colon.
    pub(crate) key: Box<str>,
    /// Whether it must be there.
    pub requiredness: Requiredness,
    /// The type of its value.
    pub ty: Type,
    /// The value of an absent field.
    pub(crate) default: Option<Preset>,
}

/// A value from the IDL, in both forms.
#[derive(Clone, Debug)]
pub(crate) struct Preset {
    pub(crate) json: Box<str>,
    pub(crate) thrift: Box<[u8]>,
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

impl Type {
    /// The type byte of its values on the wire.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Binary | Self::String => kind::STRING,
            Self::Bool => kind::BOOL,
            Self::Double => kind::DOUBLE,
            Self::Enum(_) | Self::I32 => kind::I32,
            Self::I8 => kind::I8,
            Self::I16 => kind::I16,
            Self::I64 => kind::I64,
            Self::List(_) => kind::LIST,
            Self::Map(..) => kind::MAP,
            Self::Set(_) => kind::SET,
            Self::Struct(_) => kind::STRUCT,
        }
    }
}

/// The names of an enum's numbers.
#[derive(Clone, Debug)]
pub struct EnumType {
    /// Its name.
    pub name: String,
    pub(crate) values: BTreeMap<String, i32>,
}
