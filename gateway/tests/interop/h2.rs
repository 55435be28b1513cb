//! A service of H2 in Python that knows nothing of Portolan: it finds discovery at its
//! broker, and is called over HTTP.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use conformance_tests::Absent;
use conformance_tests::h2_login::{DAVE, EVE, KEY as KEY_OF_LOGIN};
use conformance_tests::servers::{RabbitMq, Recipe, rabbitmq};
use portolan::h2::{Asked, Broker, Endpoint, PlatformError, Rule, Service};
use prost::Message;
use serde_json::{Value, json};

use crate::matrix::Matrix;
use crate::peer;
use crate::reverse::{ask as ask_json, pause, post, send, shown};
use crate::support::process::{GatewayProcess, Process};

const PIKA: &str = "1.3.2";
const SERVICE: &str = "com.hailocab.service.hello";

const KEY: &str = "a-master-key-of-32-characters-ok";

/// What a cell works with.
struct Built {
    python: PathBuf,
    broker: Arc<RabbitMq>,
}

pub(crate) fn cells(matrix: &mut Matrix) {
    let python = peer::once(python);
    for backend in ["memory:", "sqlite::memory:"] {
        let python = python.clone();
        // Discovery is alone at its broker.
        let built = move || {
            let started = rabbitmq(&Recipe::default()).map(Arc::new);
            let broker = started.map_err(|Absent(reason)| reason)?;
            Ok(Built { python: python()?, broker })
        };
        let manner = if backend == "memory:" { "over memory" } else { "over sqlite" };
        matrix.cell("pika service", manner, built.clone(), |b| joins_and_is_called(b, backend));
        matrix.cell("pika thin path", manner, built.clone(), |b| answers_paths(b, backend));
        matrix.cell("h2 session", manner, built, |built| admins_reach_the_platform(built, backend));
    }
}

fn python() -> Result<PathBuf, String> {
    let venv = peer::built("h2")?.join("venv");
    let python = venv.join("bin/python");
    let wanted = format!("import pika; assert pika.__version__ == '{PIKA}'");
    let mut check = Command::new(&python);
    let has = check.args(["-c", &wanted]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        peer::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let package = format!("pika=={PIKA}");
        peer::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", &package]))?;
    }
    Ok(python)
}

fn joins_and_is_called(built: &Built, backend: &str) {
    let url = format!("amqp://guest:guest@{}/%2f", built.broker.address());
    let rpc_too = ["--amqp-rpc", "--master-api-key", KEY];
    let gateway =
        GatewayProcess::start(&[&["--backend", backend, "--amqp", &url], &rpc_too[..]].concat());
    let source = peer::source("h2").join("peer.py");
    let mut command = Command::new(&built.python);
    let service = Process::start(command.arg(source).args([&url, "serve", SERVICE, "one"]));
    assert_eq!(service.line(), "registered");
    seen_through_the_broker(&url);
    let instance = format!("server-{SERVICE}-one");
    let listed = shown(&gateway, SERVICE);
    assert_eq!(listed["instances"][0]["id"], json!(instance), "{listed}");
    // It answers with what it was sent.
    let said = json!({"name": "web", "number": 1234567890123456789_u64});
    let answer: Value = post(&gateway.http, &format!("/{SERVICE}/hello"), &said);
    assert_eq!(answer, said);
    let (head, answer) = rpc(&gateway.http, SERVICE, r#"{"a": [1, 2]}"#);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(answer, json!({"a": [1, 2]}));
    let (head, answer) = rpc(&gateway.http, "com.hailocab.kernel.discovery", "{}");
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let auth = "com.hailocab.api.rpc.auth";
    assert_eq!((&answer["code"], &answer["dotted_code"]), (&json!(5), &json!(auth)), "{answer}");
    let (head, answer) = rpc(&gateway.http, "com.hailocab.service.nobody", "{}");
    assert!(head.starts_with("HTTP/1.1 404"), "{head} {answer}");
    let protobuf = "Content-Type: application/x-protobuf\r\n";
    let path = format!("/rpc?service={SERVICE}&endpoint=hello");
    let (head, answer) = send(&gateway.http, &path, protobuf, "\n\u{3}web");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/x-protobuf") && answer == "\n\u{3}web", "{head} {answer}");
    let (head, _) = send(&gateway.http, "/rpc?service=x", protobuf, "");
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    service.kill();
    // A call finds at once that nobody is there.
    pause(std::time::Duration::from_millis(500));
    let (status, body) = ask_json(&gateway.http, &format!("/{SERVICE}/hello"), &said);
    assert!(status.contains("503"), "{status} {body}");
    assert_eq!(gateway.process.terminate(), Some(0));
}

/// The registry is a backend for whoever reaches the broker and has a key.
fn seen_through_the_broker(url: &str) {
    let resolve = |key: &str| {
        let backend = format!("{}?key={key}", url.replace("amqp://", "amqp-rpc://"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.args(["resolve", SERVICE, "--output", "json", "--backend", &backend]);
        command.output().unwrap()
    };
    let seen = resolve(KEY);
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.status.success() && text.contains("server-com.hailocab"), "{seen:?}");
    let refused = resolve("another-key-of-nobody");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && !said.contains("another-key"), "{refused:?}");
}

/// A service that is made for the outside gets the whole request, and says the whole
/// answer.
fn answers_paths(built: &Built, backend: &str) {
    let url = format!("amqp://guest:guest@{}/%2f", built.broker.address());
    let gateway = GatewayProcess::start(&["--backend", backend, "--amqp", &url]);
    let source = peer::source("h2").join("peer.py");
    let mut command = Command::new(&built.python);
    let arguments = [&url, "serve", "com.hailocab.api.v1.driver", "one"];
    let service = Process::start(command.arg(source).args(arguments));
    assert_eq!(service.line(), "registered");
    let path = "/v1/driver/foo?a=1&a=2&session_id=s-1&hob=LONDON";
    let headers = "X-Api-Key: k\r\nX-Some: thing\r\nX-H-TraceId: t-1\r\nCookie: c\r\n";
    let (head, answer) = send(&gateway.http, path, headers, "raw body");
    assert!(head.starts_with("HTTP/1.1 202"), "{head} {answer}");
    let lower = head.to_ascii_lowercase();
    for line in ["x-said: yes", "x-h-traceid: t-1", "content-type: application/json"] {
        assert!(lower.contains(line), "{head}");
    }
    let said: Value = serde_json::from_str(&answer).unwrap();
    let expected = json!({
        "path": "/v1/driver/foo", "verb": "POST", "get": {"a": "1"}, "post": {},
        "header": ["X-Some: thing", "X-H-Traceid: t-1"], "body": "raw body",
        "session": "s-1", "trace": "t-1", "kept": "1", "remote": "127.0.0.1",
        "from": "com.hailocab.hailo-2-api",
    });
    assert_eq!(said, expected);
    let form = "Content-Type: application/x-www-form-urlencoded\r\nX-H-Trace: 1\r\n";
    let (head, answer) = send(&gateway.http, "/v1/driver/foo", form, "api_token=s-2&b=%C3%BC");
    let said: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&said["session"], &said["post"]), (&json!("s-2"), &json!({"b": "\u{fc}"})));
    let trace = said["trace"].as_str().unwrap();
    assert!(trace.len() > 30 && head.contains(trace), "{head} {answer}");
    for (path, status, code) in [("/x", 400, 15), ("/v9/nobody/foo", 404, 11)] {
        let (head, answer) = send(&gateway.http, path, "", "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head} {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["status"], &answer["code"]), (&json!(false), &json!(code)));
    }
    assert_eq!(gateway.process.terminate(), Some(0));
}

#[derive(Clone, PartialEq, Message)]
struct Session {
    #[prost(string, required, tag = "1")]
    sess_id: String,
    /// Of the answer.
    #[prost(string, required, tag = "2")]
    token: String,
}

/// The platform's own services are for who has the session of an ADMIN; a service
/// written with our host says who that is.
fn admins_reach_the_platform(built: &Built, backend: &str) {
    let url = format!("amqp://guest:guest@{}/%2f", built.broker.address());
    let key = built.broker.directory().join("login.pem");
    std::fs::write(&key, KEY_OF_LOGIN).unwrap();
    let key = key.to_str().unwrap();
    let gateway =
        GatewayProcess::start(&["--backend", backend, "--amqp", &url, "--amqp-login-key", key]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let login = Endpoint::protobuf("readsession", |asked: Asked<Session>| async move {
        let sess_id = asked.request.sess_id;
        let token = if sess_id == "dave" { DAVE } else { EVE }.to_owned();
        Ok::<_, PlatformError>(Session { sess_id, token })
    });
    let login =
        Service::new("com.hailocab.service.login").with_endpoint(login.with_rule(Rule::Open));
    let broker = Broker::parse(&url).unwrap();
    let login = runtime.block_on(async {
        let running = login.run(broker).await.unwrap();
        running.registered().await;
        running
    });
    let ask = |session: &str| {
        let path = format!("/rpc?session_id={session}");
        let form = "service=com.hailocab.kernel.discovery&endpoint=services";
        let (head, body) = send(&gateway.http, &path, "", form);
        (head, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (head, answer) = ask("dave");
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {answer}");
    let listed = answer["services"][0]["name"].as_str();
    assert_eq!(listed, Some("com.hailocab.service.login"), "{answer}");
    let (head, answer) = ask("eve");
    assert!(head.starts_with("HTTP/1.1 403"), "{head} {answer}");
    // An error of a service keeps its code and its status on the other path, too.
    let (status, body) = ask_json(&gateway.http, "/com.hailocab.service.login/health", &json!({}));
    let badrole = "com.hailocab.kernel.auth.badrole";
    assert!(status.contains("403") && body.contains(badrole), "{status} {body}");
    runtime.block_on(login.stop());
    assert_eq!(gateway.process.terminate(), Some(0));
}

/// A call as H2's thin API takes it.
fn rpc(gateway: &str, service: &str, request: &str) -> (String, Value) {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("service", service), ("endpoint", "hello"), ("request", request)])
        .finish();
    let (head, body) = send(gateway, "/rpc", "", &form);
    (head, serde_json::from_str(&body).unwrap())
}
