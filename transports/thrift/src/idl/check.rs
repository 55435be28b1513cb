//! From the parser's tree to descriptors: the parser accepts much that means
//! nothing, so every name, number and type is checked here.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pilota_thrift_parser as ast;

use super::IdlError;
use super::constant;
use super::descriptor::{
    Descriptor, EnumType, Field, Function, Requiredness, Service, StructType, Type,
};

/// How many names may stand for one another: a circle has no end, and a long
/// chain would be walked on the stack.
pub(super) const MAX_ALIASES: usize = 32;

/// How many values all defaults of a file may have together.
const MAX_DEFAULT_VALUES: usize = 10_000;

type Result<T> = std::result::Result<T, IdlError>;

/// What a name stands for.
enum Named<'a> {
    Enum(Arc<EnumType>),
    Struct(usize),
    Typedef(&'a ast::Type),
}

/// All names of a file.
pub(super) struct Names<'a> {
    types: BTreeMap<&'a str, Named<'a>>,
    pub(super) constants: BTreeMap<&'a str, &'a ast::ConstValue>,
    /// How many values the defaults of this file may still have: constants that
    /// name others twice would grow without end.
    pub(super) default_values: Cell<usize>,
}

pub(super) fn describe(file: &ast::File) -> Result<Descriptor> {
    let (names, structs) = collect(file)?;
    let mut described = Descriptor::default();
    for (like, is_union, is_exception) in structs {
        let place = like.name.as_str();
        let mut fields = names.fields(place, &like.fields)?;
        if is_union {
            // One of them is set; none is written for being absent.
            fields.iter_mut().for_each(|f| f.requiredness = Requiredness::Optional);
        }
        described.structs.push(StructType {
            name: like.name.to_string(),
            fields,
            is_union,
            is_exception,
        });
    }
    for typedef in file.items.iter().filter_map(as_typedef) {
        names.resolve(&typedef.alias, &typedef.r#type)?;
    }
    let services: Vec<_> = file.items.iter().filter_map(as_service).collect();
    describe_services(&names, &services, &mut described)?;
    constant::check_defaults(&described)?;
    Ok(described)
}

type Structs<'a> = Vec<(&'a ast::StructLike, bool, bool)>;

/// First pass: who is called what.
fn collect(file: &ast::File) -> Result<(Names<'_>, Structs<'_>)> {
    let mut names = Names {
        types: BTreeMap::new(),
        constants: BTreeMap::new(),
        default_values: Cell::new(MAX_DEFAULT_VALUES),
    };
    let mut structs = Structs::new();
    for item in &file.items {
        match item {
            ast::Item::Include(include) => {
                let reason = "includes are not supported: register one self-contained IDL";
                return Err(IdlError::new(&*include.path, reason));
            }
            ast::Item::Typedef(typedef) => {
                names.define(&typedef.alias, Named::Typedef(&typedef.r#type))?;
            }
            ast::Item::Enum(e) => names.define(&e.name, Named::Enum(enum_type(e)?))?,
            ast::Item::Struct(s) => names.add(&mut structs, (&s.struct_like, false, false))?,
            ast::Item::Union(u) => names.add(&mut structs, (&u.struct_like, true, false))?,
            ast::Item::Exception(e) => names.add(&mut structs, (&e.struct_like, false, true))?,
            ast::Item::Constant(constant) => {
                if names.constants.insert(&constant.name, &constant.value).is_some() {
                    return Err(IdlError::new(&*constant.name, "is defined twice"));
                }
            }
            ast::Item::CppInclude(_) | ast::Item::Namespace(_) | ast::Item::Service(_) => {}
        }
    }
    Ok((names, structs))
}

impl<'a> Names<'a> {
    fn define(&mut self, name: &'a str, named: Named<'a>) -> Result<()> {
        match self.types.insert(name, named) {
            None => Ok(()),
            Some(_) => Err(IdlError::new(name, "is defined twice")),
        }
    }

    fn add(
        &mut self,
        structs: &mut Structs<'a>,
        entry: (&'a ast::StructLike, bool, bool),
    ) -> Result<()> {
        self.define(&entry.0.name, Named::Struct(structs.len()))?;
        structs.push(entry);
        Ok(())
    }

    pub(super) fn enum_value(&self, name: &str, value: &str) -> Option<i32> {
        match self.types.get(name)? {
            Named::Enum(e) => e.values.get(value).copied(),
            Named::Struct(_) | Named::Typedef(_) => None,
        }
    }

    fn fields(&self, owner: &str, fields: &[ast::Field]) -> Result<Vec<Field>> {
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        let mut described = Vec::with_capacity(fields.len());
        for field in fields {
            let place = format!("{owner}.{}", &*field.name);
            let id = i16::try_from(field.id).ok().filter(|id| *id > 0);
            let id = id.ok_or_else(|| IdlError::new(&place, "has an id that is not 1 to 32767"))?;
            if !ids.insert(id) {
                return Err(IdlError::new(place, format!("repeats the id {id}")));
            }
            if !names.insert(&*field.name) {
                return Err(IdlError::new(place, "is defined twice"));
            }
            let ty = self.resolve(&place, &field.ty)?;
            let default = field.default.as_ref();
            let default = default.map(|value| constant::lower(self, &place, &ty, value));
            described.push(Field {
                id,
                name: field.name.to_string(),
                requiredness: match field.attribute {
                    ast::Attribute::Default => Requiredness::Default,
                    ast::Attribute::Optional => Requiredness::Optional,
                    ast::Attribute::Required => Requiredness::Required,
                },
                ty,
                default: default.transpose()?,
            });
        }
        Ok(described)
    }

    fn resolve(&self, place: &str, ty: &ast::Type) -> Result<Type> {
        self.resolve_through(place, ty, 0)
    }

    /// `aliases` counts typedefs on the way: a circle of them has no end.
    fn resolve_through(&self, place: &str, ty: &ast::Type, aliases: usize) -> Result<Type> {
        let inner = |ty: &ast::Type| self.resolve_through(place, ty, aliases).map(Arc::new);
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
            ast::Ty::Path(path) => self.resolve_name(place, path, aliases)?,
            ast::Ty::Uuid => return Err(IdlError::new(place, "the type uuid is not supported")),
            ast::Ty::Void => return Err(IdlError::new(place, "void is not a type of a value")),
        })
    }

    fn resolve_name(&self, place: &str, path: &ast::Path, aliases: usize) -> Result<Type> {
        let segments: Vec<_> = path.segments.iter().map(|segment| &**segment).collect();
        let name = segments.join(".");
        match self.types.get(name.as_str()) {
            Some(Named::Enum(e)) => Ok(Type::Enum(Arc::clone(e))),
            Some(Named::Struct(index)) => Ok(Type::Struct(*index)),
            Some(Named::Typedef(_)) if aliases >= MAX_ALIASES => {
                let reason = "names itself, or stands behind too many others";
                Err(IdlError::new(place, format!("the typedef {name} {reason}")))
            }
            Some(Named::Typedef(ty)) => self.resolve_through(place, ty, aliases + 1),
            None => Err(IdlError::new(place, format!("the type {name} is not defined"))),
        }
    }
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

fn as_typedef(item: &ast::Item) -> Option<&ast::Typedef> {
    match item {
        ast::Item::Typedef(typedef) => Some(typedef),
        _ => None,
    }
}

fn as_service(item: &ast::Item) -> Option<&ast::Service> {
    match item {
        ast::Item::Service(service) => Some(service),
        _ => None,
    }
}

fn describe_services(
    names: &Names<'_>,
    services: &[&ast::Service],
    described: &mut Descriptor,
) -> Result<()> {
    for service in services {
        let mut functions = BTreeMap::new();
        for function in &service.functions {
            let place = format!("{}.{}", &*service.name, &*function.name);
            let function = describe_function(names, &place, function, &described.structs)?;
            if functions.insert(function.name.clone(), Arc::new(function)).is_some() {
                return Err(IdlError::new(place, "is defined twice"));
            }
        }
        let name = service.name.to_string();
        if described.services.insert(name, Service { functions }).is_some() {
            return Err(IdlError::new(&*service.name, "is defined twice"));
        }
    }
    let by_name = services.iter().map(|service| (&*service.name, *service)).collect();
    for service in services {
        inherit(service, &by_name, described)?;
    }
    Ok(())
}

/// Adds what a service has from those it extends.
fn inherit(
    service: &ast::Service,
    services: &BTreeMap<&str, &ast::Service>,
    described: &mut Descriptor,
) -> Result<()> {
    let mut inherited = BTreeMap::new();
    let mut parent = service.extends.as_ref();
    for _ in 0..MAX_ALIASES {
        let Some(path) = parent else {
            if let Some(own) = described.services.get_mut(&*service.name) {
                inherited.append(&mut own.functions);
                own.functions = inherited;
            }
            return Ok(());
        };
        let name = path.segments.iter().map(|s| &**s).collect::<Vec<_>>().join(".");
        let found = services.get(name.as_str()).ok_or_else(|| {
            IdlError::new(&*service.name, format!("extends {name}, which is not defined"))
        })?;
        for (name, function) in &described.services[&name].functions {
            inherited.entry(name.clone()).or_insert_with(|| Arc::clone(function));
        }
        parent = found.extends.as_ref();
    }
    Err(IdlError::new(&*service.name, "extends itself, or has too many ancestors"))
}

fn describe_function(
    names: &Names<'_>,
    place: &str,
    function: &ast::Function,
    structs: &[StructType],
) -> Result<Function> {
    let exceptions = names.fields(place, &function.throws)?;
    for field in &exceptions {
        let declared = match field.ty {
            Type::Struct(index) => structs[index].is_exception,
            _ => false,
        };
        if !declared {
            let place = format!("{place}.{}", field.name);
            return Err(IdlError::new(place, "is thrown and is not an exception"));
        }
    }
    let result = match &*function.result_type {
        ast::Ty::Void => None,
        _ => Some(names.resolve(place, &function.result_type)?),
    };
    if function.oneway && (result.is_some() || !exceptions.is_empty()) {
        return Err(IdlError::new(place, "is oneway and has an answer"));
    }
    Ok(Function {
        name: function.name.to_string(),
        oneway: function.oneway,
        arguments: names.fields(place, &function.arguments)?,
        result,
        exceptions,
    })
}
