//! JSON to Thrift and back, against the way over `serde_json::Value`.

mod tree;

use std::fmt::Write as _;
use std::hint::black_box;

use portolan::thrift::idl;
use portolan::thrift::json::{self, Json, Style};

use crate::allocations;
use crate::rounds::Table;

const IDL: &str = "
    struct Item { 1: i64 id, 2: string name, 3: double price, 4: bool available, 5: list<string> tags }
    struct Order {
        1: i64 id, 2: string customer, 3: i32 status, 4: list<Item> items,
        5: map<string, i64> counts, 6: optional string note,
    }
    service Orders { Order put(1: Order order) }";

/// An order of about so many bytes.
fn order(size: usize) -> String {
    let mut text = String::from(
        r#"{"id":9007199254740993,"customer":"Ada Lovelace","status":3,"counts":{"GB":12,"FR":3},"items":["#,
    );
    let mut number = 0;
    while text.len() < size {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"id":{number},"name":"article number {number}","price":{number}.25,"available":true,"tags":["new","in stock"]}}"#,
        );
        number += 1;
    }
    text + "]}"
}

pub fn measure(table: &mut Table) {
    let idl = idl::parse(IDL).expect("an IDL");
    let function = idl.service("Orders").and_then(|s| s.function("put")).expect("a method");
    for (size, shown) in [(1024, "1 KiB"), (64 * 1024, "64 KiB")] {
        let text = order(size);
        let arguments = json::write_arguments(&idl, function, Json::Text(text.as_bytes()));
        let arguments = arguments.expect("it fits");
        assert_eq!(arguments.len(), tree::write(&idl, function, text.as_bytes()).len());
        let mut result = arguments.clone();
        result[1..3].copy_from_slice(&[0, 0]); // The argument is field 1, the result 0.

        let before = allocations::count();
        black_box(json::write_arguments(&idl, function, Json::Text(text.as_bytes())))
            .expect("fits");
        let each = allocations::count() - before;
        table.figure(&format!("JSON to Thrift, {shown}: allocations"), each as f64, 8.0);
        let mut out = Vec::with_capacity(4 * size);
        let before = allocations::count();
        black_box(json::read_result(&idl, function, &result, Style::default(), &mut out))
            .expect("fits");
        let each = allocations::count() - before;
        table.figure(&format!("Thrift to JSON, {shown}: allocations"), each as f64, 8.0);

        table.rate(
            &format!("JSON to Thrift, {shown} / over serde_json::Value"),
            3.0,
            |count| {
                for _ in 0..count {
                    black_box(tree::write(&idl, function, text.as_bytes()));
                }
            },
            |count| {
                for _ in 0..count {
                    let json = Json::Text(text.as_bytes());
                    black_box(json::write_arguments(&idl, function, json)).expect("it fits");
                }
            },
        );
        table.rate(
            &format!("Thrift to JSON, {shown} / over serde_json::Value"),
            3.0,
            |count| {
                for _ in 0..count {
                    black_box(tree::read(&idl, function, &result));
                }
            },
            |count| {
                for _ in 0..count {
                    let mut out = Vec::new();
                    let style = Style::default();
                    black_box(json::read_result(&idl, function, &result, style, &mut out))
                        .expect("it fits");
                    black_box(out);
                }
            },
        );
    }
}
