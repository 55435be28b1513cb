//! The main job on real input: a Thrift server that is not ours joins by the
//! guide, is called over HTTP, dies and comes back.
//!
//! Needs python3 with venv and Debian's thrift-compiler. Without them the result
//! is `absent`; `PORTOLAN_REQUIRE` with `all` or `python` makes that a failure.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};
use support::process::{GatewayProcess, Process, portolan, root};

/// The peer, built once: its interpreter and its program.
struct Peer {
    python: PathBuf,
    program: PathBuf,
}

/// Builds the Python peer, or says what is missing.
fn peer() -> Result<Peer, String> {
    let built = root().join("target/interop/python");
    let source = root().join("conformance-tests/interop/python");
    std::fs::create_dir_all(&built).map_err(|error| error.to_string())?;
    run(Command::new("thrift")
        .args(["--gen", "py", "-out"])
        .arg(&built)
        .arg(source.join("users.thrift")))?;
    for file in ["users.thrift", "user_service.py"] {
        std::fs::copy(source.join(file), built.join(file)).map_err(|error| error.to_string())?;
    }
    let python = built.join("venv/bin/python");
    if !works(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(built.join("venv")))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "thrift==0.25.0"]))?;
    }
    Ok(Peer { python, program: built.join("user_service.py") })
}

fn works(python: &Path) -> bool {
    let import =
        Command::new(python).args(["-c", "import thrift.Thrift"]).stderr(Stdio::null()).status();
    import.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn main() -> ExitCode {
    let name = "python::an_apache_server_joins_by_the_guide_dies_and_comes_back";
    let trial = Trial::ignorable_test(name, || match peer() {
        Ok(peer) => {
            main_job(&peer);
            Ok(Completion::Completed)
        }
        Err(reason) => absent(&reason),
    });
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

/// A cell whose peer cannot be built here: never a pass.
fn absent(reason: &str) -> Result<Completion, Failed> {
    let required = std::env::var("PORTOLAN_REQUIRE").unwrap_or_default();
    match required.split(',').any(|name| name == "all" || name == "python") {
        true => Err(format!("absent, and PORTOLAN_REQUIRE asks for it: {reason}").into()),
        false => Ok(Completion::ignored_with(format!("absent: {reason}"))),
    }
}

/// What `portolan call` prints, or its exit code and complaint.
fn call(http: &str, method: &str, argument: Option<&Value>) -> Result<Value, (i32, String)> {
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

/// The next event of a kind from `portolan watch`.
fn event(watch: &Process, kind: &str) -> Value {
    let name = format!("\"event\":\"{kind}\"");
    serde_json::from_str(&watch.line_with(|line| line.contains(&name))).unwrap()
}

fn main_job(peer: &Peer) {
    let gateway = GatewayProcess::start(&["--ttl", "3s", "--ttd", "6s"]);
    let start = |key: Option<&str>| {
        let mut command = Command::new(&peer.python);
        command.arg(&peer.program).args(["--gateway", &gateway.http]);
        command.args(key.into_iter().flat_map(|key| ["--api-key", key]));
        let server = Process::start(&mut command);
        let line = server.line();
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        (server, words[2].clone(), words[3].clone())
    };
    let (server, key, first) = start(None);
    calls(&gateway.http);

    let watch = Process::start(&mut portolan(&[
        "watch",
        "UserService",
        "--output",
        "json",
        "--gateway",
        &gateway.admin,
    ]));
    let reset = event(&watch, "reset");
    assert_eq!(reset["instances"][0]["id"], first);
    assert_eq!(reset["instances"][0]["health"], "online");

    server.kill();
    let offline = event(&watch, "health");
    assert_eq!((&offline["id"], &offline["health"]), (&json!(first), &json!("offline")));
    let (code, complaint) = call(&gateway.http, "get", Some(&json!({"id": 1}))).unwrap_err();
    assert_eq!(code, 1, "nobody is picked who is offline: {complaint}");
    let gone = event(&watch, "remove");
    assert_eq!((&gone["id"], &gone["cause"]), (&json!(first), &json!("expired")));

    let (_server, _, second) = start(Some(&key));
    assert_ne!(first, second);
    let back = event(&watch, "upsert");
    assert_eq!(back["instance"]["id"], second);
    calls(&gateway.http);
    assert_eq!(gateway.process.terminate(), Some(0), "SIGTERM drains and exits 0");
}

/// Every method of the service, with every type of its IDL.
fn calls(http: &str) {
    let ada = json!({
        "id": 9_007_199_254_740_993_i64, "email": "ada@example.org",
        "display_name": "Ada Lovelace", "plan": 3, "tags": ["math", "engines"],
        "logins_by_country": {"FR": 3, "GB": 12},
        "address": {"street": "St James's Square", "city": "London"}, "avatar": "AP8Q",
        "active": true, "score": 9.75, "groups": [1, 5], "age": 36, "level": -1,
    });
    let id = json!({"id": "9007199254740993"});
    assert_eq!(call(http, "get", Some(&id)).unwrap(), ada);
    assert_eq!(call(http, "greet", Some(&id)).unwrap(), json!("Hello, Ada Lovelace"));
    let listed = call(http, "list", Some(&json!({"limit": 5, "plan": "TEAM"}))).unwrap();
    assert_eq!(listed, json!([ada]));

    let saved = call(http, "save", Some(&json!({"id": 7, "email": "g@example.org"}))).unwrap();
    assert_eq!(saved["plan"], 1, "the IDL's default");
    assert_eq!(saved["tags"], json!([]), "the zero of a field that is not optional");
    assert_eq!(saved.get("address"), None, "an absent optional field");
    assert_eq!(call(http, "ping", None).unwrap(), Value::Null);
    assert_eq!(call(http, "forget", Some(&json!({"id": 7}))).unwrap(), Value::Null);

    let (code, complaint) = call(http, "get", Some(&json!({"id": 404}))).unwrap_err();
    assert!(code == 1 && complaint.contains("\"exception\":\"UserNotFound\""), "{complaint}");
    let (code, complaint) = call(http, "get", Some(&json!({"id": "x"}))).unwrap_err();
    assert!(code == 1 && complaint.contains("\"field\":\"id\""), "{complaint}");
    let (code, _) = call(http, "nope", Some(&json!({}))).unwrap_err();
    assert_eq!(code, 3);
}
