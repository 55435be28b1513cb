//! JSON to Thrift, while it is parsed: there is no tree between them.

use serde_json::Value;

use super::scalar::{expected, write_bool, write_number, write_text};
use super::scan::{Scanner, too_deep};
use super::seen::Seen;
use super::{Json, ValueError};
use crate::MAX_MESSAGE;
use crate::idl::{Descriptor, Field, Fields, Function, Requiredness, Type};
use crate::wire::{DEPTH, Writer, kind};

type Result<T> = std::result::Result<T, ValueError>;

/// How deep JSON may nest.
pub const JSON_DEPTH: usize = 32;

/// The argument struct of a call. A function with one struct argument takes
/// that struct, any other an object keyed by argument names; one without
/// arguments takes anything.
pub fn write_arguments(idl: &Descriptor, function: &Function, json: Json<'_>) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(idl, json.size());
    match function.only_struct() {
        Some(only) => {
            // Paths begin inside it: its name is not part of what the caller sent.
            encoder.out.field(kind::STRUCT, only.id);
            encoder.run(json, Shape::Value(&only.ty))?;
            encoder.out.stop();
        }
        None if function.takes_nothing() => {
            encoder.run(json, Shape::Anything)?;
            encoder.out.stop();
        }
        None => encoder.run(json, Shape::Fields(&function.arguments))?,
    }
    encoder.finish()
}

/// The result struct of a function that returned `json`.
pub fn write_result(idl: &Descriptor, function: &Function, json: Json<'_>) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(idl, json.size());
    if let Some(ty) = &function.result {
        encoder.out.field(ty.kind(), 0);
        encoder.run(json, Shape::Value(ty))?;
    }
    encoder.out.stop();
    encoder.finish()
}

/// The result struct of a function that threw the declared exception `name`.
pub fn write_exception(
    idl: &Descriptor,
    function: &Function,
    name: &str,
    json: Json<'_>,
) -> Result<Vec<u8>> {
    let is_meant = |field: &&Field| match field.ty {
        Type::Struct(place) => idl.structs[place].name == name,
        _ => false,
    };
    let declared = function.exceptions.all().iter().find(is_meant);
    let declared = declared.ok_or_else(|| ValueError::new("the exception is not declared"))?;
    let mut encoder = Encoder::new(idl, json.size());
    encoder.out.field(declared.ty.kind(), declared.id);
    encoder.run(json, Shape::Value(&declared.ty))?;
    encoder.out.stop();
    encoder.finish()
}

/// A default of the IDL. Structs have none, so no descriptor is needed.
pub(crate) fn encode_default(ty: &Type, value: &Value) -> Result<Vec<u8>> {
    let none = Descriptor::default();
    let mut encoder = Encoder::new(&none, 0);
    encoder.run(Json::Value(value), Shape::Value(ty))?;
    encoder.finish()
}

/// The state of one conversion.
struct Encoder<'a> {
    idl: &'a Descriptor,
    out: Writer,
    depth: usize,
    /// Where the keys of open maps are in what was written.
    keys: Vec<(usize, usize)>,
}

/// What is expected next.
#[derive(Clone, Copy)]
enum Shape<'a> {
    /// Whatever it is, it is passed over.
    Anything,
    /// The arguments of a function.
    Fields(&'a Fields),
    Value(&'a Type),
}

impl<'a> Encoder<'a> {
    fn new(idl: &'a Descriptor, size: usize) -> Self {
        let out = Writer { bytes: Vec::with_capacity(size.min(MAX_MESSAGE) + 64) };
        Self { idl, out, depth: 0, keys: Vec::new() }
    }

    fn finish(self) -> Result<Vec<u8>> {
        match self.out.bytes.len() {
            0..=MAX_MESSAGE => Ok(self.out.bytes),
            _ => Err(ValueError::new(TOO_LARGE)),
        }
    }

    fn run(&mut self, json: Json<'_>, shape: Shape<'a>) -> Result<()> {
        match json {
            Json::Text(text) => self.scan(text, shape),
            // Values are small and rare: queries, and what a handler returns.
            Json::Value(value) => self.scan(value.to_string().as_bytes(), shape),
        }
    }

    fn scan(&mut self, text: &[u8], shape: Shape<'a>) -> Result<()> {
        let mut scanner = Scanner::new(text)?;
        match shape {
            Shape::Anything => scanner.skip(JSON_DEPTH)?,
            Shape::Fields(fields) => {
                self.object(&mut scanner, |this, scanner| this.fields(scanner, fields, false))?
            }
            Shape::Value(ty) => {
                if let Written::Null = self.value(&mut scanner, ty)? {
                    return Err(expected(ty));
                }
            }
        }
        scanner.end()
    }

    /// Zeros and defaults are longer than what stands for them in JSON.
    #[inline]
    fn bounded(&self) -> Result<()> {
        match self.out.bytes.len() {
            0..=MAX_MESSAGE => Ok(()),
            _ => Err(ValueError::new(TOO_LARGE)),
        }
    }

    fn value(&mut self, scanner: &mut Scanner<'_>, ty: &'a Type) -> Result<Written> {
        match scanner.peek()? {
            b'"' => write_text(ty, &scanner.string()?, &mut self.out)?,
            b'-' | b'0'..=b'9' => write_number(ty, scanner.number()?, &mut self.out)?,
            b'{' => self.object(scanner, |this, scanner| match ty {
                Type::Map(key, element) => this.map(scanner, key, element),
                Type::Struct(place) => {
                    let idl = this.idl;
                    let described = &idl.structs[*place];
                    this.fields(scanner, &described.fields, described.is_union)
                }
                _ => Err(expected(ty)),
            })?,
            b'[' => match ty {
                Type::List(element) | Type::Set(element) => {
                    self.nested(scanner, |this, scanner| this.sequence(scanner, element))?;
                }
                _ => return Err(expected(ty)),
            },
            b't' => {
                scanner.literal("true")?;
                write_bool(ty, true, &mut self.out)?;
            }
            b'f' => {
                scanner.literal("false")?;
                write_bool(ty, false, &mut self.out)?;
            }
            b'n' => {
                scanner.literal("null")?;
                return Ok(Written::Null);
            }
            _ => return Err(scanner.unexpected()),
        }
        Ok(Written::Something)
    }

    #[inline]
    fn object(
        &mut self,
        scanner: &mut Scanner<'_>,
        content: impl FnOnce(&mut Self, &mut Scanner<'_>) -> Result<()>,
    ) -> Result<()> {
        match scanner.peek()? {
            b'{' => self.nested(scanner, content),
            _ => Err(ValueError::new("must be an object")),
        }
    }

    /// What is in the brackets that come next, one level deeper.
    #[inline]
    fn nested(
        &mut self,
        scanner: &mut Scanner<'_>,
        content: impl FnOnce(&mut Self, &mut Scanner<'_>) -> Result<()>,
    ) -> Result<()> {
        scanner.take();
        self.depth += 1;
        if self.depth > JSON_DEPTH {
            return Err(too_deep());
        }
        content(self, scanner)?;
        self.depth -= 1;
        self.bounded()
    }

    fn fields(
        &mut self,
        scanner: &mut Scanner<'_>,
        fields: &'a Fields,
        is_union: bool,
    ) -> Result<()> {
        let mut seen = Seen::new(fields.all().len());
        let mut next = 0;
        let mut goes_on = !scanner.is_empty(b'}')?;
        while goes_on {
            // Most writers keep the order of the IDL and put no space anywhere.
            let found = match fields.all().get(next) {
                Some(field) if scanner.takes(&field.key) => Some(next),
                _ => {
                    let found = fields.named(&scanner.string()?);
                    scanner.expect(b':')?;
                    found
                }
            };
            match found {
                Some(place) => {
                    next = place + 1;
                    let field = &fields.all()[place];
                    let written = self.given(scanner, field, place, is_union, &mut seen);
                    written.map_err(|error| error.in_field(&field.name))?;
                }
                None => scanner.skip(JSON_DEPTH - self.depth)?,
            }
            goes_on = scanner.goes_on(b'}')?;
        }
        if is_union && seen.is_empty() {
            return Err(ValueError::new(ONE_OF_UNION));
        }
        let absent = |(place, _): &(usize, &Field)| !seen.has(*place);
        for (_, field) in fields.all().iter().enumerate().filter(absent) {
            self.absent(field, DEPTH).map_err(|error| error.in_field(&field.name))?;
        }
        self.out.stop();
        Ok(())
    }

    /// A field that is there. One that is null is as if it were absent.
    #[inline]
    fn given(
        &mut self,
        scanner: &mut Scanner<'_>,
        field: &'a Field,
        place: usize,
        is_union: bool,
        seen: &mut Seen,
    ) -> Result<()> {
        if seen.has(place) {
            return Err(ValueError::new("is there twice"));
        }
        let start = self.out.bytes.len();
        self.out.field(field.ty.kind(), field.id);
        match self.value(scanner, &field.ty)? {
            Written::Something if is_union && !seen.is_empty() => {
                Err(ValueError::new(ONE_OF_UNION))
            }
            Written::Something => {
                seen.insert(place);
                Ok(())
            }
            Written::Null => {
                self.out.bytes.truncate(start);
                Ok(())
            }
        }
    }

    /// Writes what stands for an absent field: its default, a zero, or nothing.
    fn absent(&mut self, field: &'a Field, depth: usize) -> Result<()> {
        match (&field.default, field.requiredness) {
            (Some(default), _) => {
                self.out.field(field.ty.kind(), field.id);
                self.out.bytes.extend(&default.thrift);
                Ok(())
            }
            (None, Requiredness::Optional) => Ok(()),
            (None, Requiredness::Default | Requiredness::Required) => {
                self.out.field(field.ty.kind(), field.id);
                self.zero(&field.ty, depth)
            }
        }
    }

    /// A struct that contains itself has no zero; the depth limit says so.
    fn zero(&mut self, ty: &'a Type, depth: usize) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| ValueError::new("nests too deep"))?;
        if self.out.bytes.len() > MAX_MESSAGE {
            return Err(ValueError::new(TOO_LARGE));
        }
        match ty {
            Type::Bool | Type::I8 => self.out.u8(0),
            Type::I16 => self.out.i16(0),
            Type::Binary | Type::Enum(_) | Type::I32 | Type::String => self.out.i32(0),
            Type::Double | Type::I64 => self.out.i64(0),
            Type::List(element) | Type::Set(element) => self.sequence_head(element, 0),
            Type::Map(key, element) => self.map_head(key, element, 0),
            Type::Struct(place) => {
                let idl = self.idl;
                let described = &idl.structs[*place];
                if described.is_union {
                    return Err(ValueError::new(ONE_OF_UNION));
                }
                for field in described.fields.all() {
                    self.absent(field, depth)?;
                }
                self.out.stop();
            }
        }
        Ok(())
    }

    fn sequence_head(&mut self, element: &Type, count: usize) {
        self.out.u8(element.kind());
        self.out.count(count);
    }

    fn map_head(&mut self, key: &Type, element: &Type, count: usize) {
        self.out.u8(key.kind());
        self.out.u8(element.kind());
        self.out.count(count);
    }

    /// The count comes before the elements on the wire and after them in JSON.
    fn sequence(&mut self, scanner: &mut Scanner<'_>, element: &'a Type) -> Result<()> {
        self.sequence_head(element, 0);
        let head = self.out.bytes.len();
        let mut count = 0;
        let mut goes_on = !scanner.is_empty(b']')?;
        while goes_on {
            let written = self.value(scanner, element).and_then(|written| match written {
                Written::Something => Ok(()),
                Written::Null => Err(expected(element)),
            });
            written.map_err(|error| error.in_element(count))?;
            count += 1;
            goes_on = scanner.goes_on(b']')?;
        }
        self.set_count(head, count);
        Ok(())
    }

    fn map(&mut self, scanner: &mut Scanner<'_>, key: &'a Type, element: &'a Type) -> Result<()> {
        self.map_head(key, element, 0);
        let head = self.out.bytes.len();
        let first = self.keys.len();
        let mut goes_on = !scanner.is_empty(b'}')?;
        while goes_on {
            let name = scanner.string()?;
            let start = self.out.bytes.len();
            let written = write_text(key, &name, &mut self.out).and_then(|()| {
                self.keys.push((start, self.out.bytes.len()));
                scanner.expect(b':')?;
                match self.value(scanner, element)? {
                    Written::Something => Ok(()),
                    Written::Null => Err(expected(element)),
                }
            });
            written.map_err(|error| error.in_field(&name))?;
            goes_on = scanner.goes_on(b'}')?;
        }
        let count = self.keys.len() - first;
        if self.has_twins(first) {
            return Err(ValueError::new("has a key twice"));
        }
        self.keys.truncate(first);
        self.set_count(head, count);
        Ok(())
    }

    /// Whether two keys are the same on the wire, as `1` and `01` are.
    fn has_twins(&mut self, first: usize) -> bool {
        let bytes = &self.out.bytes;
        let keys = &mut self.keys[first..];
        let text = |&(start, end): &(usize, usize)| &bytes[start..end];
        keys.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        keys.windows(2).any(|pair| text(&pair[0]) == text(&pair[1]))
    }

    fn set_count(&mut self, head: usize, count: usize) {
        let count = i32::try_from(count).unwrap_or(i32::MAX); // Bounded by the message.
        self.out.bytes[head - 4..head].copy_from_slice(&count.to_be_bytes());
    }
}

const TOO_LARGE: &str = "becomes larger than a message may be";
const ONE_OF_UNION: &str = "must have exactly one field, for it is a union";

/// Whether a value stood there.
enum Written {
    Null,
    Something,
}
