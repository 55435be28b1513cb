//! The user service, whoever serves it: every method, with every type of its IDL.

use serde_json::{Value, json};

use crate::support::process::portolan;

/// The user that every server begins with.
pub(crate) fn ada() -> Value {
    json!({
        "id": 9_007_199_254_740_993_i64, "email": "ada@example.org",
        "display_name": "Ada Lovelace", "plan": 3, "tags": ["math", "engines"],
        "logins_by_country": {"FR": 3, "GB": 12},
        "address": {"street": "St James's Square", "city": "London"}, "avatar": "AP8Q",
        "active": true, "score": 9.75, "groups": [1, 5], "age": 36, "level": -1, "visits": 9,
        "contact": {"home": {"street": "Ockham"}}, "circles": {"-1": [[1, 2], []]},
    })
}

/// What `portolan call` prints, or its exit code and complaint.
pub(crate) fn call(
    http: &str,
    method: &str,
    argument: Option<&Value>,
) -> Result<Value, (i32, String)> {
    let mut command = portolan(&["call", "UserService", method, "--gateway", http]);
    command.args(argument.map(Value::to_string));
    let output = command.output().unwrap();
    match output.status.success() {
        true => {
            let text = String::from_utf8(output.stdout).unwrap();
            Ok(serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.trim_end())))
        }
        false => Err((output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())),
    }
}

/// Calls everything through the gateway.
pub(crate) fn calls(http: &str) {
    let ada = ada();
    let id = json!({"id": "9007199254740993"});
    assert_eq!(call(http, "get", Some(&id)).unwrap(), ada);
    assert_eq!(call(http, "greet", Some(&id)).unwrap(), json!("Hello, Ada Lovelace"));
    let listed = call(http, "list", Some(&json!({"limit": 5, "plan": "TEAM"}))).unwrap();
    assert_eq!(listed, json!([ada]));
    assert_eq!(call(http, "save", Some(&ada)).unwrap(), ada);

    let sent = json!({"id": 7, "email": "g@example.org", "contact": {"phone": "5"}});
    let saved = call(http, "save", Some(&sent)).unwrap();
    assert_eq!((&saved["plan"], &saved["visits"]), (&json!(1), &json!(7)), "the IDL's defaults");
    assert_eq!(saved["tags"], json!([]), "the zero of a field that is not optional");
    assert_eq!(saved.get("address"), None, "an absent optional field");
    assert_eq!(saved["contact"], json!({"phone": "5"}), "a union");
    assert_eq!(call(http, "ping", None).unwrap(), Value::Null);
    assert_eq!(call(http, "forget", Some(&json!({"id": 7}))).unwrap(), Value::Null);

    let (code, complaint) = call(http, "get", Some(&json!({"id": 404}))).unwrap_err();
    assert!(code == 1 && complaint.contains("\"exception\":\"UserNotFound\""), "{complaint}");
    let (code, complaint) = call(http, "get", Some(&json!({"id": "x"}))).unwrap_err();
    assert!(code == 1 && complaint.contains("\"field\":\"id\""), "{complaint}");
    let (code, _) = call(http, "nope", Some(&json!({}))).unwrap_err();
    assert_eq!(code, 3);
    // An error the IDL does not declare is the framework's, not a result.
    let (code, complaint) = call(http, "greet", Some(&json!({"id": 404}))).unwrap_err();
    assert!(code == 1 && !complaint.contains("\"exception\""), "{complaint}");
}
