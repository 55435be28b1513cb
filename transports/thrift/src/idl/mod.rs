//! What an IDL text means: parsed once, checked, and turned into descriptors.

mod check;
mod constant;
mod descriptor;
mod scan;

use std::fmt::{self, Display};

use pilota_thrift_parser::{Error as ParseError, FileParser, FileSource};

pub use self::descriptor::{
    Descriptor, EnumType, Field, Function, Requiredness, Service, StructType, Type,
};

/// Why an IDL text was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdlError {
    /// `line 3:7` for text that does not parse, `User.age` for what is wrong in
    /// it, empty for the text as a whole.
    pub place: String,
    /// The reason.
    pub reason: String,
}

impl IdlError {
    pub(crate) fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

impl Display for IdlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.place, self.reason),
        }
    }
}

impl std::error::Error for IdlError {}

/// Parses and checks one self-contained IDL text.
///
/// At most 256 KiB and 32 levels of nesting, looked at before the parser sees
/// the text. `include` is refused by name.
pub fn parse(text: &str) -> Result<Descriptor, IdlError> {
    scan::check(text)?;
    let file = FileParser::new(FileSource::new(text)).parse().map_err(syntax_error)?;
    check::describe(&file)
}

/// The parser tells line and column only in a sentence of its own.
fn syntax_error(error: ParseError) -> IdlError {
    let ParseError::Syntax { summary, .. } = error else {
        return IdlError::new("", error.to_string());
    };
    let after = |marker: &str| summary.find(marker).map(|at| &summary[at + marker.len()..]);
    let told = after(" at line ").or_else(|| after("  1. Line "));
    match told.and_then(|told| told.split_once(" - ")) {
        Some((place, reason)) => {
            let reason = reason.split("\n  2. Line").next().unwrap_or(reason);
            IdlError::new(format!("line {place}"), reason.escape_debug().to_string())
        }
        None => IdlError::new("", summary.escape_debug().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> IdlError {
        parse(text).expect_err(text)
    }

    #[test]
    fn what_does_not_parse_names_line_and_column() {
        let error = refused("struct A {\n  1: i32\n}");
        assert_eq!(error.place, "line 3:1");
        assert_eq!(refused("garbage").place, "line 1:1");
    }

    #[test]
    fn what_is_wrong_names_struct_and_field() {
        for (text, place) in [
            ("struct A { 1: Nope a }", "A.a"),
            ("struct A { 1: i32 a, 1: i32 b }", "A.b"),
            ("struct A { 1: i32 a, 2: i32 a }", "A.a"),
            ("struct A { 0: i32 a }", "A.a"),
            ("struct A { 1: map<B, i32> a } struct B {}", "A.a"),
            ("struct A { 1: i32 a = \"x\" }", "A.a"),
            ("struct A {} struct A {}", "A"),
            ("enum E { A = 99999999999 }", "E.A"),
            ("typedef B A typedef A B", "A"),
            ("service S { void f(1: Nope a) }", "S.f.a"),
            ("service S { void f() void f() }", "S.f"),
            ("service S { void f() throws (1: A a) } struct A {}", "S.f.a"),
            ("service S extends T {}", "S"),
            ("include \"base.thrift\"", "base.thrift"),
        ] {
            assert_eq!(refused(text).place, place, "{text}");
        }
    }

    #[test]
    fn size_and_nesting_are_refused_before_parsing() {
        assert!(refused(&"x".repeat(300 * 1024)).reason.contains("bytes"));
        let nested =
            format!("struct A {{ 1: {}i32{} a }}", "list<".repeat(10_000), ">".repeat(10_000));
        assert!(refused(&nested).reason.contains("nests"));
        // Brackets in strings and comments do not count.
        let quiet = "// <<<<\n/* {{{{ */ # ((((\nconst string S = \"<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<\"";
        parse(quiet).unwrap();
    }

    /// On the stack of a worker thread, which is what a gateway parses on.
    fn on_a_small_stack(text: String) -> Result<Descriptor, IdlError> {
        let parse = move || parse(&text);
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(parse);
        thread.unwrap().join().unwrap()
    }

    #[test]
    fn long_chains_and_long_lists_do_not_end_the_process() {
        let chain = |first: &str, link: &dyn Fn(usize) -> String| {
            (0..6_000).map(link).fold(first.to_owned(), |text, link| text + &link)
        };
        let typedefs = chain("typedef i32 T0\n", &|n| format!("typedef T{n} T{}\n", n + 1));
        assert!(on_a_small_stack(typedefs).unwrap_err().reason.contains("too many"));
        let constants = chain("const i32 C0 = 1\n", &|n| format!("const i32 C{} = C{n}\n", n + 1));
        let used = format!("{constants}struct A {{ 1: i32 a = C6000 }}");
        assert_eq!(on_a_small_stack(used).unwrap_err().place, "A.a");
        let structs = chain("", &|n| format!("struct S{n} {{ 1: S{} s }}\n", n.saturating_sub(1)));
        on_a_small_stack(structs).unwrap();
        let values: String = (0..20_000).map(|n| format!("V{n}, ")).collect();
        on_a_small_stack(format!("enum E {{ {values} }}")).unwrap();
        let parents =
            chain("service P0 {}\n", &|n| format!("service P{} extends P{n} {{}}\n", n + 1));
        assert!(on_a_small_stack(parents).unwrap_err().reason.contains("ancestors"));
    }

    const TOKENS: [&str; 34] = [
        "struct",
        "union",
        "exception",
        "enum",
        "typedef",
        "const",
        "service",
        "extends",
        "throws",
        "oneway",
        "void",
        "required",
        "optional",
        "list<",
        "set<",
        "map<",
        ">",
        "i32",
        "string",
        "binary",
        "A",
        "B",
        "A.B",
        "{",
        "}",
        "(",
        ")",
        ":",
        ",",
        "=",
        "1",
        "-7",
        "\"x\"",
        "\n",
    ];

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            tokens in prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..60),
            noise in "\\PC{0,40}",
        ) {
            let _ = parse(&tokens.join(" "));
            let _ = parse(&noise);
        }
    }
}
