//! Services and their functions, inherited ones included.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilota_thrift_parser as ast;

use super::IdlError;
use super::check::fields;
use super::descriptor::{Descriptor, Fields, Function, Service, StructType, Type};
use super::names::{MAX_ALIASES, Names, segments};
use super::source::Source;

type Result<T> = std::result::Result<T, IdlError>;

/// A service by the file it stands in and its name.
type Place<'a> = (usize, &'a str);

/// What the services of all files say themselves.
type Own<'a> = BTreeMap<Place<'a>, (&'a ast::Service, BTreeMap<String, Arc<Function>>)>;

/// Describes all services and keeps those of the first file.
pub(super) fn describe(
    names: &Names<'_>,
    sources: &[Source<'_>],
    described: &mut Descriptor,
) -> Result<()> {
    let mut own = Own::new();
    for (file, source) in sources.iter().enumerate() {
        for service in source.file.items.iter().filter_map(as_service) {
            let functions = functions(names, file, service, &described.structs);
            let functions = functions.map_err(|error| source.told(error))?;
            if own.insert((file, &*service.name), (service, functions)).is_some() {
                let error = IdlError::new(&*service.name, "is defined twice");
                return Err(source.told(error));
            }
        }
    }
    for place in own.keys().filter(|(file, _)| *file == 0) {
        let functions = inherit(names, &own, *place).map_err(|error| sources[0].told(error))?;
        described.services.insert(place.1.to_owned(), Service { functions });
    }
    Ok(())
}

fn functions(
    names: &Names<'_>,
    file: usize,
    service: &ast::Service,
    structs: &[StructType],
) -> Result<BTreeMap<String, Arc<Function>>> {
    let mut functions = BTreeMap::new();
    for function in &service.functions {
        let place = format!("{}.{}", &*service.name, &*function.name);
        let described = describe_function(names, file, &place, function, structs)?;
        if functions.insert(described.name.clone(), Arc::new(described)).is_some() {
            return Err(IdlError::new(place, "is defined twice"));
        }
    }
    Ok(functions)
}

/// The functions of a service and of those it extends.
fn inherit(
    names: &Names<'_>,
    own: &Own<'_>,
    place: Place<'_>,
) -> Result<BTreeMap<String, Arc<Function>>> {
    let mut functions = BTreeMap::new();
    let mut next = own.get_key_value(&place);
    for _ in 0..MAX_ALIASES {
        let Some(((file, _), (service, declared))) = next else {
            return Ok(functions);
        };
        for (name, function) in declared {
            functions.entry(name.clone()).or_insert_with(|| Arc::clone(function));
        }
        next = match &service.extends {
            Some(path) => Some(parent(names, own, *file, path).ok_or_else(|| {
                let name = segments(path).join(".");
                IdlError::new(&*service.name, format!("extends {name}, which is not defined"))
            })?),
            None => None,
        };
    }
    Err(IdlError::new(place.1, "extends itself, or has too many ancestors"))
}

type Entry<'a> = (&'a Place<'a>, &'a (&'a ast::Service, BTreeMap<String, Arc<Function>>));

fn parent<'a>(
    names: &Names<'_>,
    own: &'a Own<'a>,
    file: usize,
    path: &'a ast::Path,
) -> Option<Entry<'a>> {
    let segments = segments(path);
    let (home, own_name) = names.home(file, &segments);
    let [name] = own_name else { return None };
    own.get_key_value(&(home, *name))
}

fn describe_function(
    names: &Names<'_>,
    file: usize,
    place: &str,
    function: &ast::Function,
    structs: &[StructType],
) -> Result<Function> {
    let exceptions = fields(names, file, place, &function.throws)?;
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
        _ => Some(names.resolve(file, place, &function.result_type)?),
    };
    if function.oneway && (result.is_some() || !exceptions.is_empty()) {
        return Err(IdlError::new(place, "is oneway and has an answer"));
    }
    Ok(Function {
        name: function.name.to_string(),
        oneway: function.oneway,
        arguments: Fields::new(fields(names, file, place, &function.arguments)?),
        result,
        exceptions: Fields::new(exceptions),
    })
}

fn as_service(item: &ast::Item) -> Option<&ast::Service> {
    match item {
        ast::Item::Service(service) => Some(service),
        _ => None,
    }
}
