//! Thrift to JSON, while it is read: there is no tree between them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::ValueError;
use super::scan::special;
use super::seen::Seen;
use crate::idl::{Descriptor, Fields, Function, Type};
use crate::wire::{DEPTH, Reader, WireError, kind};

type Result<T> = std::result::Result<T, ValueError>;

/// How JSON is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Style {
    /// 64-bit numbers as text: a reader whose numbers are doubles loses none.
    pub int64_as_text: bool,
    /// The result of a function that returns a string as that string, without
    /// quotes and escapes.
    pub bare_text: bool,
}

impl Style {
    /// Says whether 64-bit numbers are text.
    #[must_use]
    pub fn with_int64_as_text(mut self, yes: bool) -> Self {
        self.int64_as_text = yes;
        self
    }

    /// Says whether a result that is a string is not JSON.
    #[must_use]
    pub fn with_bare_text(mut self, yes: bool) -> Self {
        self.bare_text = yes;
        self
    }
}

/// What an answer was; its JSON is where it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A declared exception of this name, with its fields.
    Exception(String),
    /// A result; `null` for void.
    Result,
}

/// The most JSON that one message becomes: a list of empty structs is short on
/// the wire, and their defaults are not.
const MAX_JSON: usize = 16 << 20;

/// The arguments of a call, in the shape
/// [`write_arguments`](super::write_arguments) takes them.
pub fn read_arguments(idl: &Descriptor, function: &Function, bytes: &[u8]) -> Result<Value> {
    let mut out = Vec::new();
    let mut decoder = Decoder::new(idl, bytes, Style::default(), &mut out);
    match function.only_struct() {
        Some(only) => {
            decoder.put(b"null");
            while let Some((kind, id)) = decoder.reader.field()? {
                match id == only.id {
                    true => {
                        decoder.out.clear();
                        decoder.value(&only.ty, kind, DEPTH)?;
                    }
                    false => decoder.reader.skip(kind, DEPTH)?,
                }
            }
        }
        None => decoder.fields(&function.arguments, DEPTH)?,
    }
    serde_json::from_slice(&out).map_err(|error| ValueError::new(error.to_string()))
}

/// Appends the answer in a result struct to `out`. Fields nobody declared are
/// passed over.
pub fn read_result(
    idl: &Descriptor,
    function: &Function,
    bytes: &[u8],
    style: Style,
    out: &mut Vec<u8>,
) -> Result<Answer> {
    let mut decoder = Decoder::new(idl, bytes, style, out);
    let mut found = None;
    while let Some((kind, id)) = decoder.reader.field()? {
        let thrown = function.exceptions.numbered(id, 0).map(|at| &function.exceptions.all()[at]);
        match (id, &function.result, thrown.map(|field| &field.ty)) {
            _ if found.is_some() => decoder.reader.skip(kind, DEPTH)?,
            (0, Some(Type::String), _) if style.bare_text && kind == kind::STRING => {
                let text = decoder.reader.string()?;
                decoder.put(text.as_bytes());
                found = Some(Answer::Result);
            }
            (0, Some(ty), _) => {
                decoder.value(ty, kind, DEPTH)?;
                found = Some(Answer::Result);
            }
            (_, _, Some(ty @ Type::Struct(place))) => {
                decoder.value(ty, kind, DEPTH)?;
                found = Some(Answer::Exception(idl.structs[*place].name.clone()));
            }
            _ => decoder.reader.skip(kind, DEPTH)?,
        }
    }
    match (found, &function.result) {
        (Some(answer), _) => Ok(answer),
        (None, None) => {
            decoder.put(b"null");
            Ok(Answer::Result)
        }
        (None, Some(_)) => Err(ValueError::new("the answer holds no result")),
    }
}

struct Decoder<'a, 'o> {
    idl: &'a Descriptor,
    reader: Reader<'a>,
    style: Style,
    out: &'o mut Vec<u8>,
}

impl<'a, 'o> Decoder<'a, 'o> {
    fn new(idl: &'a Descriptor, bytes: &'a [u8], style: Style, out: &'o mut Vec<u8>) -> Self {
        out.reserve(bytes.len() * 2);
        Self { idl, reader: Reader::new(bytes), style, out }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn fields(&mut self, fields: &Fields, depth: usize) -> Result<()> {
        let mut seen = Seen::new(fields.all().len());
        let mut next = 0;
        self.put(b"{");
        while let Some((kind, id)) = self.reader.field()? {
            let Some(place) = fields.numbered(id, next) else {
                self.reader.skip(kind, depth)?;
                continue;
            };
            let field = &fields.all()[place];
            if !seen.insert(place) {
                return Err(ValueError::new("is there twice").in_field(&field.name));
            }
            self.separate(b'{');
            self.put(field.key.as_bytes());
            let written = self.value(&field.ty, kind, depth);
            written.map_err(|error| error.in_field(&field.name))?;
            next = place + 1;
        }
        for (place, field) in fields.all().iter().enumerate() {
            if let Some(default) = field.default.as_ref().filter(|_| !seen.has(place)) {
                self.separate(b'{');
                self.put(field.key.as_bytes());
                self.put(default.json.as_bytes());
            }
        }
        self.put(b"}");
        self.bounded()
    }

    /// A comma, unless the container has just begun.
    fn separate(&mut self, begin: u8) {
        if self.out.last() != Some(&begin) {
            self.put(b",");
        }
    }

    fn bounded(&self) -> Result<()> {
        match self.out.len() {
            0..=MAX_JSON => Ok(()),
            _ => Err(ValueError::new("becomes too large as JSON")),
        }
    }

    fn value(&mut self, ty: &Type, found: u8, depth: usize) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
        match (ty, found) {
            (Type::Binary, kind::STRING) => {
                let bytes = self.reader.bytes()?;
                self.base64(bytes);
            }
            (Type::Bool, kind::BOOL) => {
                let text: &[u8] = if self.reader.bool()? { b"true" } else { b"false" };
                self.put(text);
            }
            (Type::Double, kind::DOUBLE) => {
                let number = self.reader.f64()?;
                self.double(number)?;
            }
            (Type::Enum(_) | Type::I32, kind::I32) => {
                let number = self.reader.i32()?;
                self.whole(i64::from(number));
            }
            (Type::I8, kind::I8) => {
                let number = self.reader.u8()? as i8;
                self.whole(i64::from(number));
            }
            (Type::I16, kind::I16) => {
                let number = self.reader.i16()?;
                self.whole(i64::from(number));
            }
            (Type::I64, kind::I64) => {
                let number = self.reader.i64()?;
                match self.style.int64_as_text {
                    true => self.quoted(|decoder| decoder.whole(number)),
                    false => self.whole(number),
                }
            }
            (Type::List(element), kind::LIST) | (Type::Set(element), kind::SET) => {
                self.sequence(element, depth)?;
            }
            (Type::Map(key, element), kind::MAP) => self.map(key, element, depth)?,
            (Type::String, kind::STRING) => {
                let bytes = self.reader.bytes()?;
                self.text(bytes)?;
            }
            (Type::Struct(place), kind::STRUCT) => {
                let idl = self.idl;
                self.fields(&idl.structs[*place].fields, depth)?;
            }
            (_, found) => {
                return Err(ValueError::new(format!("is of another type on the wire ({found})")));
            }
        }
        Ok(())
    }

    fn sequence(&mut self, element: &Type, depth: usize) -> Result<()> {
        let (kind, count) = self.reader.sequence()?;
        self.put(b"[");
        for index in 0..count {
            self.separate(b'[');
            let written = self.value(element, kind, depth);
            written.map_err(|error| error.in_element(index))?;
        }
        self.put(b"]");
        self.bounded()
    }

    fn map(&mut self, key: &Type, element: &Type, depth: usize) -> Result<()> {
        let (key_kind, kind, count) = self.reader.map()?;
        self.put(b"{");
        for _ in 0..count {
            self.separate(b'{');
            let start = self.out.len();
            match key {
                Type::String => self.value(key, key_kind, depth)?,
                _ => self.key(key, key_kind, depth)?,
            }
            let end = self.out.len();
            self.put(b":");
            let written = self.value(element, kind, depth);
            written.map_err(|error| {
                let name = String::from_utf8_lossy(&self.out[start..end]);
                error.in_field(name.trim_matches('"'))
            })?;
        }
        self.put(b"}");
        self.bounded()
    }

    /// A key that is no text of its own.
    fn key(&mut self, ty: &Type, found: u8, depth: usize) -> Result<()> {
        let bare = Style { int64_as_text: false, ..self.style };
        let style = std::mem::replace(&mut self.style, bare);
        self.put(b"\"");
        self.value(ty, found, depth)?;
        self.put(b"\"");
        self.style = style;
        Ok(())
    }

    fn quoted(&mut self, write: impl FnOnce(&mut Self)) {
        self.put(b"\"");
        write(self);
        self.put(b"\"");
    }

    fn whole(&mut self, number: i64) {
        let mut buffer = itoa::Buffer::new();
        self.put(buffer.format(number).as_bytes());
    }

    fn double(&mut self, number: f64) -> Result<()> {
        if !number.is_finite() {
            return Err(ValueError::new("is not a finite number"));
        }
        serde_json::to_writer(&mut *self.out, &number).map_err(|e| ValueError::new(e.to_string()))
    }

    /// A text. Most are what they are in JSON too, and are copied as they are.
    #[inline]
    fn text(&mut self, bytes: &[u8]) -> Result<()> {
        if is_plain(bytes) {
            self.out.reserve(bytes.len() + 2);
            self.put(b"\"");
            self.put(bytes);
            self.put(b"\"");
            return Ok(());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?;
        serde_json::to_writer(&mut *self.out, text).map_err(|e| ValueError::new(e.to_string()))
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.put(b"\"");
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        // The room is exactly what it takes.
        let _ = STANDARD.encode_slice(bytes, &mut self.out[start..]);
        self.put(b"\"");
    }
}

/// Whether a text is ASCII that JSON writes as it is.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    const HIGH: u64 = (u64::MAX / 255) << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let odd = words.iter().fold(0, |odd, word| {
        let word = u64::from_le_bytes(*word);
        odd | special(word) | (word & HIGH)
    });
    let plain = |byte: &u8| matches!(byte, 0x20..0x80) && !matches!(byte, b'"' | b'\\');
    odd == 0 && rest.iter().all(plain)
}

impl From<WireError> for ValueError {
    fn from(error: WireError) -> Self {
        Self::new(error.to_string())
    }
}
