//! From the parser's tree to descriptors: the parser accepts much that means
//! nothing, so every name, number and type is checked here.

use std::collections::BTreeSet;

use pilota_thrift_parser as ast;

use super::IdlError;
use super::constant;
use super::descriptor::{Descriptor, Field, Fields, Requiredness, StructType};
use super::names::Names;
use super::service;
use super::source::Source;

type Result<T> = std::result::Result<T, IdlError>;

pub(super) fn describe(sources: &[Source<'_>]) -> Result<Descriptor> {
    let names = Names::collect(sources)?;
    let mut described = Descriptor::default();
    for like in &names.structs {
        let owner = like.like.name.as_str();
        let told = |error| sources[like.file].told(error);
        let mut fields = fields(&names, like.file, owner, &like.like.fields).map_err(told)?;
        if like.is_union {
            // One of them is set; none is written for being absent.
            fields.iter_mut().for_each(|f| f.requiredness = Requiredness::Optional);
        }
        described.structs.push(StructType {
            name: owner.to_owned(),
            fields: Fields::new(fields),
            is_union: like.is_union,
            is_exception: like.is_exception,
        });
    }
    for (file, source) in sources.iter().enumerate() {
        for typedef in source.file.items.iter().filter_map(as_typedef) {
            let resolved = names.resolve(file, &typedef.alias, &typedef.r#type);
            resolved.map_err(|error| source.told(error))?;
        }
    }
    service::describe(&names, sources, &mut described)?;
    Ok(described)
}

/// Fields with their types and defaults.
pub(super) fn fields(
    names: &Names<'_>,
    file: usize,
    owner: &str,
    fields: &[ast::Field],
) -> Result<Vec<Field>> {
    let (mut ids, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut described = Vec::with_capacity(fields.len());
    for field in fields {
        let place = format!("{owner}.{}", &*field.name);
        let id = i16::try_from(field.id).ok().filter(|id| *id > 0);
        let id = id.ok_or_else(|| IdlError::new(&place, "has an id that is not 1 to 32767"))?;
        if !ids.insert(id) {
            return Err(IdlError::new(place, format!("repeats the id {id}")));
        }
        if !seen.insert(&*field.name) {
            return Err(IdlError::new(place, "is defined twice"));
        }
        let ty = names.resolve(file, &place, &field.ty)?;
        let default = field.default.as_ref();
        let default = default.map(|value| constant::preset(names, file, &place, &ty, value));
        described.push(Field {
            id,
            name: field.name.to_string(),
            key: format!("\"{}\":", &*field.name).into(),
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

fn as_typedef(item: &ast::Item) -> Option<&ast::Typedef> {
    match item {
        ast::Item::Typedef(typedef) => Some(typedef),
        _ => None,
    }
}
