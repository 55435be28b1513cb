//! The texts of an IDL: one that is meant, and those it includes.

use std::collections::BTreeMap;

use pilota_thrift_parser as ast;
use pilota_thrift_parser::{Error as ParseError, FileParser, FileSource};

use super::{IdlError, Position, locate, scan};

/// Texts by the names under which they are included.
pub type Includes = BTreeMap<String, String>;

/// How many texts an IDL may include, directly or not.
const MAX_INCLUDES: usize = 64;

/// One parsed text.
pub(super) struct Source<'a> {
    /// The name it is included under; empty for the one that is meant.
    name: &'a str,
    text: &'a str,
    pub(super) file: ast::File,
    /// Whom the names before a dot stand for, as places in the list of sources.
    pub(super) includes: BTreeMap<String, usize>,
}

/// Parses a text and everything it includes; the text itself comes first.
pub(super) fn load<'a>(text: &'a str, includes: &'a Includes) -> Result<Vec<Source<'a>>, IdlError> {
    scan::check_size(text.len() + includes.values().map(String::len).sum::<usize>())?;
    let mut sources = vec![Source::parse("", text)?];
    let mut next = 0;
    while let Some(source) = sources.get(next) {
        let wanted = source.file.items.iter().filter_map(|item| match item {
            ast::Item::Include(include) => Some(include.path.to_string()),
            _ => None,
        });
        let wanted: Vec<String> = wanted.collect();
        for path in wanted {
            let (name, text) = find(&path, includes).ok_or_else(|| {
                let reason = "is included, and is not among the texts given beside the IDL";
                IdlError::new(&*path, reason).in_file(sources[next].name)
            })?;
            let known = sources.iter().position(|source| source.name == name);
            let place = match known {
                Some(place) => place,
                None if sources.len() > MAX_INCLUDES => {
                    let reason = format!("there are more than {MAX_INCLUDES} included texts");
                    return Err(IdlError::new(path, reason));
                }
                None => {
                    sources.push(Source::parse(name, text)?);
                    sources.len() - 1
                }
            };
            sources[next].includes.insert(stem(&path).to_owned(), place);
        }
        next += 1;
    }
    Ok(sources)
}

/// The text of an `include`: by its path, or else by the last part of it.
fn find<'a>(path: &str, includes: &'a Includes) -> Option<(&'a str, &'a str)> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let found = includes.get_key_value(path).or_else(|| includes.get_key_value(file))?;
    Some((found.0, found.1))
}

/// What stands before the dot in the names of an included file.
fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".thrift").unwrap_or(file)
}

impl<'a> Source<'a> {
    fn parse(name: &'a str, text: &'a str) -> Result<Self, IdlError> {
        let parsed = scan::check_nesting(text).and_then(|()| {
            FileParser::new(FileSource::new(text)).parse().map_err(|error| syntax_error(&error))
        });
        let file = parsed.map_err(|error| error.in_file(name))?;
        Ok(Self { name, text, file, includes: BTreeMap::new() })
    }

    /// An error of this text, with the line it is about.
    pub(super) fn told(&self, mut error: IdlError) -> IdlError {
        error.position = error.position.or_else(|| locate::find(self.text, &error.place));
        error.in_file(self.name)
    }
}

/// The parser tells line and column only in a sentence of its own.
fn syntax_error(error: &ParseError) -> IdlError {
    let ParseError::Syntax { summary, .. } = error else {
        return IdlError::new("", error.to_string());
    };
    let after = |marker: &str| summary.find(marker).map(|at| &summary[at + marker.len()..]);
    let told = after(" at line ").or_else(|| after("  1. Line "));
    let Some((place, reason)) = told.and_then(|told| told.split_once(" - ")) else {
        return IdlError::new("", summary.escape_debug().to_string());
    };
    let reason = reason.split("\n  2. Line").next().unwrap_or(reason);
    let mut error = IdlError::new("", reason.escape_debug().to_string());
    error.position = place.split_once(':').and_then(|(line, column)| {
        Some(Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    error
}
