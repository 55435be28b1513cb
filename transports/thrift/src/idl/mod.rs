//! What an IDL text means: parsed once, checked, and turned into descriptors.

mod cache;
mod check;
mod constant;
mod descriptor;
mod locate;
mod names;
mod scan;
mod service;
mod source;

use std::fmt::{self, Display};

pub use self::cache::Cache;
pub(crate) use self::descriptor::Fields;
pub use self::descriptor::{
    Descriptor, EnumType, Field, Function, Requiredness, Service, StructType, Type,
};
pub use self::source::Includes;

/// Why an IDL text was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdlError {
    /// The included text it is about; empty for the IDL itself.
    pub file: String,
    /// Where in the text, as far as that is known.
    pub position: Option<Position>,
    /// What is wrong, as in `User.age`; empty for text that does not parse.
    pub place: String,
    /// The reason.
    pub reason: String,
}

/// A place in a text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl IdlError {
    pub(crate) fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        let (place, reason) = (place.into(), reason.into());
        Self { file: String::new(), position: None, place, reason }
    }

    fn in_file(mut self, name: &str) -> Self {
        if self.file.is_empty() {
            name.clone_into(&mut self.file);
        }
        self
    }
}

impl Display for IdlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}:{column}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for IdlError {}

/// Parses and checks one self-contained IDL text.
///
/// At most 256 KiB and 32 levels of nesting, looked at before the parser sees
/// the text.
pub fn parse(text: &str) -> Result<Descriptor, IdlError> {
    parse_with(text, &Includes::new())
}

/// Parses and checks an IDL text and the texts it includes, which together have
/// the limits of [`parse`]. Of the included services only those that are
/// extended matter.
pub fn parse_with(text: &str, includes: &Includes) -> Result<Descriptor, IdlError> {
    check::describe(&source::load(text, includes)?)
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
        assert_eq!(error.position, Some(Position { line: 3, column: 1 }));
        assert_eq!(refused("garbage").position, Some(Position { line: 1, column: 1 }));
        let wrong = refused("struct A {\n  1: i32 a,\n  2: Nope b }");
        assert_eq!(wrong.to_string(), "line 3:11: A.b: the type Nope is not defined");
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

    fn includes(texts: &[(&str, &str)]) -> Includes {
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn included_types_constants_and_services_are_found_behind_their_prefix() {
        let texts = includes(&[
            (
                "base.thrift",
                "include \"deep.thrift\"
                typedef deep.Id Id
                enum Color { RED = 3 }
                const i32 SEVEN = 7
                struct Base { 1: Id id, 2: Color color = Color.RED }
                exception Lost { 1: string what }
                service Root { Base get(1: Id id) throws (1: Lost lost) }",
            ),
            ("deep.thrift", "typedef i64 Id"),
        ]);
        let text = "include \"../common/base.thrift\"
            struct Mine { 1: base.Base base, 2: i32 n = base.SEVEN, 3: base.Color c = base.Color.RED }
            service Child extends base.Root { void put(1: Mine mine) }";
        let idl = parse_with(text, &texts).unwrap();
        assert_eq!(idl.services().collect::<Vec<_>>(), ["Child"]);
        let functions: Vec<_> = idl.service("Child").unwrap().functions().collect();
        assert_eq!(functions, ["get", "put"]);
    }

    #[test]
    fn what_is_wrong_with_an_include_is_told() {
        let refused = |text, texts| parse_with(text, &includes(texts)).unwrap_err().to_string();
        let missing = refused("include \"base.thrift\"", &[("other.thrift", "")]);
        assert!(missing.contains("base.thrift: is included"), "{missing}");
        let inside = refused("include \"b.thrift\"", &[("b.thrift", "struct B { 1: Nope a }")]);
        assert_eq!(inside, "b.thrift: line 1:20: B.a: the type Nope is not defined");
        let prefix = refused("struct A { 1: b.C c }", &[]);
        assert!(prefix.contains("b.C is not defined"), "{prefix}");
        // A circle has nothing to say, and ends.
        let circle = [("a.thrift", "include \"b.thrift\""), ("b.thrift", "include \"a.thrift\"")];
        parse_with("include \"a.thrift\"", &includes(&circle)).unwrap();
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
