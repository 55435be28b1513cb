//! A server and a client of go-easyops in Go, written from the wire alone: the modules of
//! go-easyops are on no public proxy.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::matrix::Matrix;
use crate::peer;
use crate::reverse::{pause, post, shown};
use crate::support::process::{GatewayProcess, Process};

const SERVICE: &str = "echo.EchoService";

#[derive(Clone)]
struct Built {
    peer: PathBuf,
}

pub(crate) fn cells(matrix: &mut Matrix) {
    let built = peer::once(build);
    for backend in ["memory:", "sqlite::memory:"] {
        let manner = if backend == "memory:" { "over memory" } else { "over sqlite" };
        let run = move |built: &Built| joins_and_is_found(built, backend);
        matrix.cell("go-easyops peer", manner, built.clone(), run);
    }
    matrix.cell("go-easyops peer", "standalone", built, joins_by_its_file);
}

fn build() -> Result<Built, String> {
    let directory = peer::built("easyops")?;
    let peer = directory.join("peer");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&peer).arg(".").current_dir(peer::source("easyops"));
    peer::run(&mut go)?;
    Ok(Built { peer })
}

impl Built {
    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.peer).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// A server joins and is listed; a client finds it, and so does whoever asks the
/// gateway, whose calls are signed; it is gone when it says so.
fn joins_and_is_found(built: &Built, backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("cloud.key");
    let gateway = GatewayProcess::start(&[
        "--backend",
        backend,
        "--easyops",
        "127.0.0.1:0",
        "--easyops-key",
        key.to_str().unwrap(),
        "--easyops-probe",
        "200ms",
    ]);
    let registry = gateway.easyops.clone();
    let mut command = Command::new(&built.peer);
    let server = Process::start(command.args(["serve", &registry, SERVICE]));
    assert_eq!(server.line(), "registered");
    assert_eq!(server.line(), "asked how it is");
    let listed = shown(&gateway, SERVICE);
    let instance = &listed["instances"][0];
    assert_eq!((&instance["health"], &instance["phase"]), (&json!("online"), &json!("ready")));
    assert_eq!(built.run(&["list", &registry]), format!("{SERVICE} 1 14\nend"));
    // A client of its own kind, with an owner's key for a token.
    let registration = json!([{"OwnerName": "me", "OwnerId": "me", "Services": [
        {"ServiceName": "Mine", "IdlContent": "service Mine { void nothing() }"}]}]);
    let registered: Value = post(&gateway.http, "/register", &registration);
    let token = registered["API-Key"].as_str().unwrap();
    let call = |token: &str| built.run(&["call", &registry, SERVICE, token, "hello"]);
    assert_eq!(call(token), "hello");
    assert_eq!(server.line(), "called by me");
    assert_eq!(call("nobody's"), "refused: access denied");
    // Through the gateway: any client of gRPC, and HTTP.
    let mut through = Command::new(&built.peer);
    through.args(["plain", &gateway.grpc, SERVICE, "ciao"]);
    let answer = through.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "ciao", "{answer:?}");
    assert_eq!(server.line(), "called by portolan");
    assert_eq!(server.terminate(), Some(0));
    pause(std::time::Duration::from_millis(300));
    let gone = shown(&gateway, SERVICE);
    assert!(gone["instances"].is_null(), "nobody knows it any more: {gone}");
    assert_eq!(gateway.process.terminate(), Some(0));
    assert!(key.exists(), "the key stays, for the next start");
}

/// A server that knows no registry is listed by the file it leaves, asked how it is, and
/// called.
fn joins_by_its_file(built: &Built) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let gateway = GatewayProcess::start(&[
        "--backend",
        "memory:",
        "--easyops",
        "127.0.0.1:0",
        "--easyops-key",
        &path("cloud.key"),
        "--easyops-standalone",
        &path(""),
        "--easyops-probe",
        "200ms",
    ]);
    let mut command = Command::new(&built.peer);
    let server = Process::start(command.args(["standalone", &path(""), SERVICE]));
    // The directory is read every five seconds.
    assert_eq!(server.line(), "asked how it is");
    assert_eq!(built.run(&["plain", &gateway.grpc, SERVICE, "ciao"]), "ciao");
    assert_eq!(server.line(), "called by anybody");
    assert_eq!(gateway.process.terminate(), Some(0));
}
