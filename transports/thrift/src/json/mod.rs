//! JSON into Thrift and back, by an IDL.
//!
//! The rules are those of the Kitex generic client that the first guide's
//! services were called with (kitex v0.5.2, `pkg/generic/thrift`), told apart where it
//! silently guessed: what cannot be converted is an error that names the path.

mod decode;
mod encode;
mod scalar;
mod scan;
mod seen;

use std::fmt::{self, Display};

use serde_json::Value;

pub use self::decode::{Answer, Style, read_arguments, read_result};
pub(crate) use self::encode::encode_default;
pub use self::encode::{JSON_DEPTH, write_arguments, write_exception, write_result};

/// JSON to be converted: a text that is parsed on the way, or a value.
#[derive(Clone, Copy, Debug)]
pub enum Json<'a> {
    /// A text.
    Text(&'a [u8]),
    /// A value.
    Value(&'a Value),
}

impl Json<'_> {
    /// About how many bytes it becomes.
    fn size(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Value(_) => 0,
        }
    }
}

/// Why a JSON value does not fit the IDL, or bytes do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// Where in the value, as in `user.tags[2]`; empty for the value itself.
    pub path: String,
    /// The reason. Never repeats the value.
    pub reason: String,
}

impl ValueError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    /// The same error, one field further out.
    pub(crate) fn in_field(mut self, name: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => name.to_owned(),
            path if path.starts_with('[') => format!("{name}{path}"),
            path => format!("{name}.{path}"),
        };
        self
    }

    /// The same error, one element further out.
    pub(crate) fn in_element(mut self, index: usize) -> Self {
        self.path = match self.path.as_str() {
            "" => format!("[{index}]"),
            path if path.starts_with('[') => format!("[{index}]{path}"),
            path => format!("[{index}].{path}"),
        };
        self
    }
}

impl Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.path, self.reason),
        }
    }
}

impl std::error::Error for ValueError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::idl::{self, Descriptor, Function};

    const IDL: &str = r#"
        enum Color { RED = 1, BLUE }
        typedef i64 Id
        struct Inner { 1: string s, 2: optional i32 n }
        struct All {
            1: bool b, 2: i8 tiny, 3: i16 small, 4: i32 n, 5: Id id, 6: double d,
            7: string text, 8: binary raw, 9: Color color, 10: list<Inner> inners,
            11: set<i32> numbers, 12: map<i64, string> names, 13: optional All next,
            14: i32 preset = 7, 15: optional string maybe,
        }
        exception Missing { 1: string what }
        service S {
            All echo(1: All all) throws (1: Missing missing),
            i32 add(1: i32 a, 2: i32 b),
            string hello(),
            void nothing(),
        }
    "#;

    fn there_and_back(method: &str, sent: &Value) -> Result<Value, ValueError> {
        let idl: Descriptor = idl::parse(IDL).unwrap();
        let function = idl.service("S").and_then(|s| s.function(method)).unwrap();
        let bytes = write_arguments(&idl, function, Json::Value(sent))?;
        // A text and a value are the same, whatever the order of their keys.
        let text = sent.to_string();
        let from_text = write_arguments(&idl, function, Json::Text(text.as_bytes()))?;
        assert_eq!(from_text, bytes);
        read_arguments(&idl, function, &bytes)
    }

    fn answer(function: &Function, idl: &Descriptor, bytes: &[u8]) -> (Answer, Value) {
        let mut out = Vec::new();
        let answer = read_result(idl, function, bytes, Style::default(), &mut out).unwrap();
        (answer, serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn every_type_round_trips() {
        let all = json!({
            "b": true, "tiny": -8, "small": -16, "n": 32, "id": 9_007_199_254_740_993_i64,
            "d": 1.5, "text": "ü\"\n", "raw": "AP8=", "color": 2,
            "inners": [{"s": "x", "n": 1}, {"s": ""}], "numbers": [3, 1],
            "names": {"-1": "minus", "9007199254740993": "big"},
            "next": {"b": false, "tiny": 0, "small": 0, "n": 0, "id": 0, "d": 0.0, "text": "",
                "raw": "", "color": 0, "inners": [], "numbers": [], "names": {}, "preset": 7},
            "preset": 8, "maybe": "m",
        });
        assert_eq!(there_and_back("echo", &all).unwrap(), all);
    }

    #[test]
    fn strings_become_numbers_and_absent_fields_their_zero_or_default() {
        let sent = json!({"n": "30", "id": "9007199254740993", "b": "true", "d": "1e3",
            "color": "BLUE", "text": 5, "unknown": {}, "maybe": null});
        let got = there_and_back("echo", &sent).unwrap();
        assert_eq!(got["n"], 30);
        assert_eq!(got["id"], 9_007_199_254_740_993_i64);
        assert_eq!(got["b"], true);
        assert_eq!(got["d"], 1000.0);
        assert_eq!(got["color"], 2);
        assert_eq!(got["text"], "5");
        assert_eq!(got["preset"], 7);
        assert_eq!(got["small"], 0);
        assert_eq!(got.get("maybe"), None);
        assert_eq!(got.get("next"), None);
    }

    #[test]
    fn what_does_not_fit_names_its_path() {
        for (sent, path) in [
            (json!({"n": "x"}), "n"),
            (json!({"n": 2_147_483_648_i64}), "n"),
            (json!({"n": 1.5}), "n"),
            (json!({"inners": [{}, {"n": []}]}), "inners[1].n"),
            (json!({"names": {"x": "y"}}), "names.x"),
            (json!({"raw": "%"}), "raw"),
            (json!({"color": "GREEN"}), "color"),
            (json!({"next": {"next": {"b": 2}}}), "next.next.b"),
            (json!([]), ""),
        ] {
            assert_eq!(there_and_back("echo", &sent).unwrap_err().path, path);
        }
    }

    #[test]
    fn several_arguments_are_an_object_of_their_names() {
        let sent = json!({"a": 1, "b": "2"});
        assert_eq!(there_and_back("add", &sent).unwrap(), json!({"a": 1, "b": 2}));
        assert_eq!(there_and_back("hello", &Value::Null).unwrap(), json!({}));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            bytes in prop::collection::vec(prop_oneof![3 => 0_u8..18, 1 => any::<u8>()], 0..200),
        ) {
            let idl = idl::parse(IDL).unwrap();
            let function = idl.service("S").and_then(|s| s.function("echo")).unwrap();
            let _ = read_result(&idl, function, &bytes, Style::default(), &mut Vec::new());
            let _ = read_arguments(&idl, function, &bytes);
        }
    }

    #[test]
    fn small_inputs_do_not_grow_without_bound() {
        // Zeros that double thirty times, and constants that do.
        let zeros: String =
            (0..30).map(|n| format!("struct Z{n} {{ 1: Z{0} a, 2: Z{0} b }}\n", n + 1)).collect();
        let zeros = zeros + "struct Z30 {} service S { void f(1: Z0 z) }";
        let idl = idl::parse(&zeros).unwrap();
        let function = idl.service("S").and_then(|s| s.function("f")).unwrap();
        let error = write_arguments(&idl, function, Json::Text(b"{}")).unwrap_err();
        assert!(error.reason.contains("larger than a message"), "{error}");

        let mut bombs = "const list<i32> C0 = [1, 2]\n".to_owned();
        for n in 0..20 {
            bombs += &format!("const list<i32> C{} = [C{n}, C{n}]\n", n + 1);
        }
        let nested = format!("{}i32{}", "list<".repeat(21), ">".repeat(21));
        let refused = idl::parse(&format!("{bombs} struct A {{ 1: {nested} a = C20 }}"));
        let refused = refused.unwrap_err();
        assert!(refused.place == "A.a" && refused.reason.contains("too large"), "{refused}");

        let long = "x".repeat(10_000);
        let text = format!("struct D {{ 1: string a = \"{long}\" }} service S {{ list<D> f() }}");
        let idl = idl::parse(&text).unwrap();
        let function = idl.service("S").and_then(|s| s.function("f")).unwrap();
        let mut many = vec![15, 0, 0, 12, 0, 0, 0x40, 0];
        many.extend([0; 0x4000 + 1]);
        let error = read_result(&idl, function, &many, Style::default(), &mut Vec::new());
        let error = error.unwrap_err();
        assert!(error.reason.contains("too large"), "{error}");
    }

    #[test]
    fn results_and_exceptions_come_back_apart() {
        let idl = idl::parse(IDL).unwrap();
        let function = idl.service("S").and_then(|s| s.function("echo")).unwrap();
        let missing = json!({"what": "it"});
        let bytes = write_exception(&idl, function, "Missing", Json::Value(&missing)).unwrap();
        let thrown = Answer::Exception("Missing".to_owned());
        assert_eq!(answer(function, &idl, &bytes), (thrown, missing));
        let hello = idl.service("S").and_then(|s| s.function("hello")).unwrap();
        let bytes = write_result(&idl, hello, Json::Value(&json!("h\"i"))).unwrap();
        assert_eq!(answer(hello, &idl, &bytes), (Answer::Result, json!("h\"i")));
        let mut bare = Vec::new();
        read_result(&idl, hello, &bytes, Style::default().with_bare_text(true), &mut bare).unwrap();
        assert_eq!(bare, b"h\"i");
        let empty = read_result(&idl, hello, &[0], Style::default(), &mut Vec::new());
        assert!(empty.is_err(), "a result without a value");
        let nothing = idl.service("S").and_then(|s| s.function("nothing")).unwrap();
        assert_eq!(answer(nothing, &idl, &[0]), (Answer::Result, Value::Null));
    }

    #[test]
    fn large_numbers_are_exact_and_text_on_request() {
        let text = "struct N { 1: i64 n, 2: map<i64, i64> m } service S { N f(1: N n) }";
        let idl = idl::parse(text).unwrap();
        let function = idl.service("S").and_then(|s| s.function("f")).unwrap();
        let sent =
            br#"{"n": 9007199254740993, "m": {"-9223372036854775808": "9223372036854775807"}}"#;
        let mut bytes = write_arguments(&idl, function, Json::Text(sent)).unwrap();
        bytes[1..3].copy_from_slice(&[0, 0]); // An argument as a result.
        let mut out = Vec::new();
        let style = Style::default().with_int64_as_text(true);
        read_result(&idl, function, &bytes, style, &mut out).unwrap();
        let expected =
            r#"{"n":"9007199254740993","m":{"-9223372036854775808":"9223372036854775807"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_json_leaves_open_is_refused() {
        let idl = idl::parse(IDL).unwrap();
        let function = idl.service("S").and_then(|s| s.function("echo")).unwrap();
        let refused = |text: &str| {
            write_arguments(&idl, function, Json::Text(text.as_bytes())).expect_err(text)
        };
        for (text, path, reason) in [
            (r#"{"n": 1, "n": 1}"#, "n", "twice"),
            (r#"{"names": {"1": "a", "01": "b"}}"#, "names", "twice"),
            (r#"{"d": 1e999}"#, "d", "finite"),
            (r#"{"d": "NaN"}"#, "d", "finite"),
            (r#"{"d": NaN}"#, "d", "line 1"),
            (r#"{"id": 9223372036854775808}"#, "id", "range"),
            (r#"{"inners": [null]}"#, "inners[0]", "object"),
            (r#"{"names": {"7": null}}"#, "names.7", "text"),
            (r#"{"text": "\ud800"}"#, "text", "line 1"),
            (r#"{"n": 1} x"#, "", "trailing"),
            ("", "", "early"),
            ("null", "", "object"),
        ] {
            let error = refused(text);
            assert_eq!(error.path, path, "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
        let deep = format!("{}{}", r#"{"next":"#.repeat(100), "1");
        assert!(refused(&deep).reason.contains("deep"));
        let unknown = format!(r#"{{"unknown": {}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let _ = write_arguments(&idl, function, Json::Text(unknown.as_bytes()));
    }
}
