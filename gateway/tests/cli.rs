//! The command line: exit codes, output, and signals.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::process::{GatewayProcess, Process, portolan};

/// Exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = portolan(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_codes_say_what_happened() {
    let (code, _, complaint) = run(&["resolve", "nope", "--backend", "memory:"]);
    assert_eq!(code, 3, "{complaint}");
    let (code, _, complaint) = run(&["resolve", "a b", "--backend", "memory:"]);
    assert!(code == 2 && complaint.contains("service"), "{complaint}");
    let (code, _, complaint) = run(&["services", "--backend", "zookeeper://h"]);
    assert!(code == 2 && complaint.contains("memory"), "{complaint}");
    let (code, _, complaint) = run(&["services", "--gateway", "http://127.0.0.1:1"]);
    assert_eq!(code, 4, "{complaint}");
    let (code, _, complaint) = run(&["gateway", "--amqp", "http://h"]);
    assert!(code == 2 && complaint.contains("amqp"), "{complaint}");
    let nobody = ["gateway", "--backend", "memory:", "--http", "127.0.0.1:0"];
    let ports = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let broker = ["--amqp", "amqp://u:secret@127.0.0.1:1/"];
    let (code, _, complaint) = run(&[&nobody[..], &ports, &broker].concat());
    assert!(code == 1 && complaint.contains("amqp: "), "{code} {complaint}");
    assert!(!complaint.contains("secret"), "{complaint}");
    let (code, _, complaint) = run(&["gateway", "--http", "0.0.0.0:0"]);
    assert!(code == 2 && complaint.contains("authentication"), "{complaint}");
    assert_eq!(run(&["frobnicate"]).0, 2);
    let (code, help, _) = run(&["--help"]);
    assert!(code == 0 && help.contains("Exit codes"), "{help}");
    let (code, out, complaint) = run(&["services", "--backend", "memory:", "--output", "json"]);
    assert_eq!(code, 0, "{complaint}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["services"], serde_json::json!([]));
}

#[test]
fn a_busy_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, complaint) = run(&["gateway", "--backend", "memory:", "--http", &address]);
    assert!(code == 1 && complaint.contains("http") && complaint.contains(&address), "{complaint}");
}

#[test]
fn an_instance_joins_from_the_shell_and_leaves_with_it() {
    let key = "master-0123456789abcdef";
    let gateway = GatewayProcess::start(&["--master-api-key", key]);
    let member = Process::start(&mut portolan(&[
        "connect",
        "shop",
        "--address",
        "127.0.0.1:9",
        "--gateway",
        &gateway.http,
        "--api-key",
        key,
    ]));
    let id = member.line().strip_prefix("connected ").unwrap().to_owned();
    let resolve = ["resolve", "shop", "--gateway", &gateway.admin, "--output", "json"];
    let (code, out, complaint) = run(&resolve);
    assert_eq!(code, 0, "{complaint}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["instances"][0]["id"], id.as_str());
    let (_, table, _) = run(&["resolve", "shop", "--gateway", &gateway.admin]);
    assert!(table.contains("HEALTH") && table.contains("online"), "{table}");
    let (_, services, _) = run(&["services", "--gateway", &gateway.admin]);
    assert!(services.contains("portolan.gateway") && services.contains("1/1"), "{services}");

    assert_eq!(member.terminate(), Some(0));
    assert_eq!(run(&resolve).0, 3, "it has left");
    assert_eq!(gateway.process.terminate(), Some(0));
}

#[test]
fn the_demo_does_the_main_job() {
    let any = "127.0.0.1:0";
    let (code, out, complaint) =
        run(&["demo", "--once", "--http", any, "--grpc", any, "--admin", any]);
    assert_eq!(code, 0, "{complaint}");
    for expected in ["\"name\":\"Ada\"", "Hello, Vasco!", "UserNotFound"] {
        assert!(out.contains(expected), "{out}");
    }
}

#[test]
fn the_registry_of_one_gateway_is_the_backend_of_another() {
    let first = GatewayProcess::start(&["--thrift", "127.0.0.1:0"]);
    let backend = format!("thrift://{}", first.thrift);
    let second = GatewayProcess::start(&["--backend", &backend]);
    let services = ["services", "--backend", &backend, "--output", "json"];
    let (code, out, complaint) = run(&services);
    assert_eq!(code, 0, "{complaint}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["services"][0]["instances"], 2, "both gateways are there: {out}");
    assert_eq!(second.process.terminate(), Some(0));
    let (_, out, _) = run(&services);
    assert!(out.contains("\"instances\":1"), "it has left: {out}");
    assert_eq!(first.process.terminate(), Some(0));
    assert_eq!(run(&services).0, 4);
}

#[test]
fn an_authority_issues_passports_and_overwrites_nothing() {
    use portolan::identity::{AuthorityKey, Passport, Verifier};

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authority");
    let file = file.to_str().unwrap();
    let (code, key, told) = run(&["identity", "authority", file]);
    assert_eq!(code, 0, "{told}");
    let secret = std::fs::read_to_string(file).unwrap();
    assert!(!key.contains(secret.trim()) && !told.contains(secret.trim()));
    assert_eq!(run(&["identity", "key", file]).1, key);
    let (code, _, told) = run(&["identity", "authority", file]);
    assert!(code == 2 && told.contains("stays as it is"), "{code}: {told}");
    let user = ["identity", "issue", "--authority", file, "--user", "alice", "--role", "admin"];
    let (code, passport, told) = run(&user);
    assert_eq!(code, 0, "{told}");
    let passport = Passport::parse(&passport).unwrap();
    let verifier = Verifier::trusting([AuthorityKey::parse(&key).unwrap()]);
    let who = verifier.check(&passport.prove("users", None).unwrap(), "users").unwrap();
    assert!(who.subject.to_string() == "user:alice" && who.has_role("admin"));
    assert_eq!(run(&["identity", "issue", "--authority", file]).0, 2, "of whom?");
    assert_eq!(run(&["identity", "key", "/nowhere"]).0, 1);
}
