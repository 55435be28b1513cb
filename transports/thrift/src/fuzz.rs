//! Fuzz targets: everything that reads what a stranger wrote.
//!
//! Under plain `cargo test` each runs its corpus (`src/__fuzz__/NAME/corpus`) and
//! a second of random input; `scripts/fuzz` runs them longer. A crash that is
//! found becomes a file of the corpus.

use std::sync::OnceLock;

use bytes::BytesMut;

use crate::MAX_MESSAGE;
use crate::idl::{self, Descriptor, Function};
use crate::json::{self, Json, Style};
use crate::wire::{DEPTH, Message, Reader, Splitter, append};

const IDL: &str = r#"
    enum Color { RED = 1, BLUE }
    union Either { 1: string left, 2: i64 right }
    struct Inner { 1: string s, 2: optional i32 n, 3: double d = 1.5 }
    struct All {
        1: bool b, 2: i8 tiny, 3: i16 small, 4: i32 n, 5: i64 id, 6: double d, 7: string text,
        8: binary raw, 9: Color color, 10: list<Inner> inners, 11: set<i32> numbers,
        12: map<i64, string> names, 13: optional All next, 14: optional Either either,
        15: map<string, list<map<bool, i8>>> deep, 16: i32 preset = 7,
    }
    exception Missing { 1: string what }
    service S { All echo(1: All all) throws (1: Missing missing) }
"#;

fn echo() -> &'static (Descriptor, std::sync::Arc<Function>) {
    // Parsed once for a million inputs.
    fn parsed() -> (Descriptor, std::sync::Arc<Function>) {
        let idl = idl::parse(IDL).unwrap();
        let function = std::sync::Arc::clone(idl.service("S").unwrap().function("echo").unwrap());
        (idl, function)
    }
    static ECHO: OnceLock<(Descriptor, std::sync::Arc<Function>)> = OnceLock::new();
    ECHO.get_or_init(parsed)
}

/// What was cut into messages is the same however it arrived, and reads the same
/// after it was written again.
#[test]
fn frames() {
    bolero::check!(name = "frames").for_each(|input: &[u8]| {
        let mut whole = Vec::new();
        let (mut splitter, mut buffer) = (Splitter::new(MAX_MESSAGE), BytesMut::from(input));
        while let Ok(Some(packet)) = splitter.next(&mut buffer) {
            whole.push(packet);
        }
        let (mut splitter, mut buffer) = (Splitter::new(MAX_MESSAGE), BytesMut::new());
        let mut pieces = Vec::new();
        'input: for byte in input.chunks(3) {
            buffer.extend_from_slice(byte);
            loop {
                match splitter.next(&mut buffer) {
                    Ok(Some(packet)) => pieces.push(packet),
                    Ok(None) => break,
                    Err(_) => break 'input,
                }
            }
        }
        assert_eq!(whole, pieces);
        for packet in whole {
            let Ok(message) = Message::parse(&packet.message) else { continue };
            let mut again = BytesMut::new();
            if append(packet.framing, &packet.header, &message, MAX_MESSAGE, &mut again).is_ok() {
                let read = Splitter::new(MAX_MESSAGE).next(&mut again).unwrap().unwrap();
                assert_eq!(read, packet);
            }
        }
    });
}

/// What is passed over is passed over whole; what becomes JSON is JSON.
#[test]
fn values() {
    bolero::check!(name = "values").for_each(|input: &[u8]| {
        let Some((kind, bytes)) = input.split_first() else { return };
        let _ = Reader::new(bytes).skip(kind % 17, DEPTH);
        let (idl, function) = echo();
        let mut out = Vec::new();
        if json::read_result(idl, function, bytes, Style::default(), &mut out).is_ok() {
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        }
    });
}

/// No text ends the process, and what is accepted is understood twice the same.
#[test]
fn idl_texts() {
    bolero::check!(name = "idl").for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let _ = idl::parse(&text);
        let includes = idl::Includes::from([("base.thrift".to_owned(), text.to_string())]);
        let _ = idl::parse_with("include \"base.thrift\"\nstruct A { 1: base.B b }", &includes);
    });
}

/// What becomes Thrift becomes the same JSON again and again.
#[test]
fn json_texts() {
    bolero::check!(name = "json").for_each(|input: &[u8]| {
        let (idl, function) = echo();
        let Ok(bytes) = json::write_arguments(idl, function, Json::Text(input)) else { return };
        assert!(serde_json::from_slice::<serde_json::Value>(input).is_ok(), "no JSON was taken");
        let value = json::read_arguments(idl, function, &bytes).unwrap();
        let again = json::write_arguments(idl, function, Json::Value(&value)).unwrap();
        assert_eq!(json::read_arguments(idl, function, &again).unwrap(), value);
    });
}
