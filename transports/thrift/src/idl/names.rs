//! Who is called what: types and constants of all files of an IDL.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use pilota_thrift_parser as ast;

use super::IdlError;
use super::descriptor::{EnumType, Type};
use super::source::Source;

/// How many names may stand for one another: a circle has no end, and a long
/// chain would be walked on the stack.
pub(super) const MAX_ALIASES: usize = 32;

/// How many values all defaults of an IDL may have together.
const MAX_DEFAULT_VALUES: usize = 10_000;

type Result<T> = std::result::Result<T, IdlError>;

/// What a name stands for.
enum Named<'a> {
    Enum(Arc<EnumType>),
    Struct(usize),
    Typedef(&'a ast::Type),
}

/// A struct as it was parsed.
pub(super) struct Like<'a> {
    pub(super) file: usize,
    pub(super) like: &'a ast::StructLike,
    pub(super) is_union: bool,
    pub(super) is_exception: bool,
}

/// The names of one file.
#[derive(Default)]
struct Own<'a> {
    types: BTreeMap<&'a str, Named<'a>>,
    constants: BTreeMap<&'a str, &'a ast::ConstValue>,
}

/// All names of all files.
pub(super) struct Names<'a> {
    sources: &'a [Source<'a>],
    files: Vec<Own<'a>>,
    pub(super) structs: Vec<Like<'a>>,
    /// How many values the defaults may still have: constants that name others
    /// twice would grow without end.
    pub(super) default_values: Cell<usize>,
}

impl<'a> Names<'a> {
    /// Collects them; nothing is resolved yet, so order does not matter.
    pub(super) fn collect(sources: &'a [Source<'a>]) -> Result<Self> {
        let mut names = Self {
            sources,
            files: sources.iter().map(|_| Own::default()).collect(),
            structs: Vec::new(),
            default_values: Cell::new(MAX_DEFAULT_VALUES),
        };
        for (file, source) in sources.iter().enumerate() {
            for item in &source.file.items {
                names.add(file, item).map_err(|error| source.told(error))?;
            }
        }
        Ok(names)
    }

    fn add(&mut self, file: usize, item: &'a ast::Item) -> Result<()> {
        let (like, is_union, is_exception) = match item {
            ast::Item::Typedef(typedef) => {
                return self.define(file, &typedef.alias, Named::Typedef(&typedef.r#type));
            }
            ast::Item::Enum(e) => return self.define(file, &e.name, Named::Enum(enum_type(e)?)),
            ast::Item::Constant(constant) => {
                let constants = &mut self.files[file].constants;
                return match constants.insert(&constant.name, &constant.value) {
                    None => Ok(()),
                    Some(_) => Err(IdlError::new(&*constant.name, "is defined twice")),
                };
            }
            ast::Item::Struct(s) => (&s.struct_like, false, false),
            ast::Item::Union(u) => (&u.struct_like, true, false),
            ast::Item::Exception(e) => (&e.struct_like, false, true),
            ast::Item::CppInclude(_)
            | ast::Item::Include(_)
            | ast::Item::Namespace(_)
            | ast::Item::Service(_) => return Ok(()),
        };
        self.define(file, &like.name, Named::Struct(self.structs.len()))?;
        self.structs.push(Like { file, like, is_union, is_exception });
        Ok(())
    }

    fn define(&mut self, file: usize, name: &'a str, named: Named<'a>) -> Result<()> {
        match self.files[file].types.insert(name, named) {
            None => Ok(()),
            Some(_) => Err(IdlError::new(name, "is defined twice")),
        }
    }

    /// The file that `prefix.name` is looked up in, and the name there.
    pub(super) fn home<'p, 's>(
        &self,
        file: usize,
        segments: &'p [&'s str],
    ) -> (usize, &'p [&'s str]) {
        match segments {
            [prefix, rest @ ..] if !rest.is_empty() => {
                match self.sources[file].includes.get(*prefix) {
                    Some(included) => (*included, rest),
                    None => (file, segments),
                }
            }
            _ => (file, segments),
        }
    }

    /// The number of `Enum.VALUE`.
    pub(super) fn enum_value(&self, file: usize, segments: &[&str]) -> Option<i32> {
        let (file, segments) = self.home(file, segments);
        let [name, value] = segments else { return None };
        match self.files[file].types.get(name)? {
            Named::Enum(e) => e.values.get(*value).copied(),
            Named::Struct(_) | Named::Typedef(_) => None,
        }
    }

    /// A constant, and the file in which its own names are to be looked up.
    pub(super) fn constant(
        &self,
        file: usize,
        segments: &[&str],
    ) -> Option<(usize, &'a ast::ConstValue)> {
        let (file, segments) = self.home(file, segments);
        let [name] = segments else { return None };
        Some((file, self.files[file].constants.get(name)?))
    }

    pub(super) fn resolve(&self, file: usize, place: &str, ty: &ast::Type) -> Result<Type> {
        self.resolve_through(file, place, ty, 0)
    }

    /// `aliases` counts typedefs on the way: a circle of them has no end.
    fn resolve_through(
        &self,
        file: usize,
        place: &str,
        ty: &ast::Type,
        aliases: usize,
    ) -> Result<Type> {
        let inner = |ty| self.resolve_through(file, place, ty, aliases).map(Arc::new);
        Ok(match &**ty {
            ast::Ty::Binary => Type::Binary,
            ast::Ty::Bool => Type::Bool,
            ast::Ty::Byte | ast::Ty::I8 => Type::I8,
            ast::Ty::Double => Type::Double,
            ast::Ty::I16 => Type::I16,
            ast::Ty::I32 => Type::I32,
            ast::Ty::I64 => Type::I64,
            ast::Ty::String => Type::String,
            ast::Ty::List { value, .. } => Type::List(inner(value)?),
            ast::Ty::Set { value, .. } => Type::Set(inner(value)?),
            ast::Ty::Map { key, value, .. } => {
                let key = inner(key)?;
                check_key(place, &key)?;
                Type::Map(key, inner(value)?)
            }
            ast::Ty::Path(path) => self.resolve_name(file, place, path, aliases)?,
            ast::Ty::Uuid => return Err(IdlError::new(place, "the type uuid is not supported")),
            ast::Ty::Void => return Err(IdlError::new(place, "void is not a type of a value")),
        })
    }

    fn resolve_name(
        &self,
        file: usize,
        place: &str,
        path: &ast::Path,
        aliases: usize,
    ) -> Result<Type> {
        let segments = segments(path);
        let (home, own) = self.home(file, &segments);
        let found = match own {
            [name] => self.files[home].types.get(name),
            _ => None,
        };
        let name = || segments.join(".");
        match found {
            Some(Named::Enum(e)) => Ok(Type::Enum(Arc::clone(e))),
            Some(Named::Struct(index)) => Ok(Type::Struct(*index)),
            Some(Named::Typedef(_)) if aliases >= MAX_ALIASES => {
                let reason = "names itself, or stands behind too many others";
                Err(IdlError::new(place, format!("the typedef {} {reason}", name())))
            }
            Some(Named::Typedef(ty)) => self.resolve_through(home, place, ty, aliases + 1),
            None => Err(IdlError::new(place, format!("the type {} is not defined", name()))),
        }
    }
}

pub(super) fn segments(path: &ast::Path) -> Vec<&str> {
    path.segments.iter().map(|segment| &**segment).collect()
}

/// Keys of JSON objects are strings: only what has a text can be one.
fn check_key(place: &str, key: &Type) -> Result<()> {
    match key {
        Type::Binary | Type::List(_) | Type::Map(..) | Type::Set(_) | Type::Struct(_) => {
            let reason = "has a map key that cannot be the key of a JSON object";
            Err(IdlError::new(place, reason))
        }
        Type::Bool
        | Type::Double
        | Type::Enum(_)
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::String => Ok(()),
    }
}

fn enum_type(parsed: &ast::Enum) -> Result<Arc<EnumType>> {
    let mut values = BTreeMap::new();
    let mut next = 0_i64;
    for value in &parsed.values {
        let place = format!("{}.{}", &*parsed.name, &*value.name);
        let number = value.value.map_or(next, |number| *number);
        next = number.saturating_add(1);
        let number = i32::try_from(number)
            .map_err(|_| IdlError::new(&place, "has a number beyond 32 bits"))?;
        if values.insert(value.name.to_string(), number).is_some() {
            return Err(IdlError::new(place, "is defined twice"));
        }
    }
    Ok(Arc::new(EnumType { name: parsed.name.to_string(), values }))
}
