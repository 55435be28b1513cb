//! Apache Thrift's own Python server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::matrix::Matrix;
use crate::peer;
use crate::support::process::{GatewayProcess, Process, portolan};
use crate::users::{call, calls};

/// Its interpreter and its program.
#[derive(Clone)]
struct Python {
    python: PathBuf,
    program: PathBuf,
}

pub(crate) fn cells(matrix: &mut Matrix) {
    let build = peer::once(build);
    matrix.cell("python server", "framed", build.clone(), main_job);
    matrix.cell("python server", "buffered", build, |peer| {
        let gateway = GatewayProcess::start(&[]);
        let _server = peer.start(&gateway, &["--transport", "buffered"]);
        calls(&gateway.http);
        calls(&gateway.http); // Over the same connections.
    });
}

fn build() -> Result<Python, String> {
    let built = peer::built("python")?;
    let idl = peer::source("users.thrift");
    let mut generator = Command::new("thrift");
    peer::run(generator.args(["--gen", "py", "-out"]).arg(&built).arg(&idl))?;
    peer::copy(&[idl, peer::source("python").join("user_service.py")], &built)?;
    let python = built.join("venv/bin/python");
    if !works(&python) {
        peer::run(Command::new("python3").args(["-m", "venv"]).arg(built.join("venv")))?;
        let install = ["-m", "pip", "install", "--quiet", "thrift==0.25.0"];
        peer::run(Command::new(&python).args(install))?;
    }
    Ok(Python { python, program: built.join("user_service.py") })
}

fn works(python: &Path) -> bool {
    let import =
        Command::new(python).args(["-c", "import thrift.Thrift"]).stderr(Stdio::null()).status();
    import.is_ok_and(|status| status.success())
}

impl Python {
    /// A server, its key and its id.
    fn start(&self, gateway: &GatewayProcess, flags: &[&str]) -> (Process, String, String) {
        let mut command = Command::new(&self.python);
        command.arg(&self.program).args(["--gateway", &gateway.http]).args(flags);
        let server = Process::start(&mut command);
        let line = server.line();
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        (server, words[2].clone(), words[3].clone())
    }
}

/// The next event of a kind from `portolan watch`.
fn event(watch: &Process, kind: &str) -> Value {
    let name = format!("\"event\":\"{kind}\"");
    serde_json::from_str(&watch.line_with(|line| line.contains(&name))).unwrap()
}

/// It joins by the guide, is called over HTTP, dies and comes back.
fn main_job(peer: &Python) {
    let gateway = GatewayProcess::start(&["--ttl", "3s", "--ttd", "6s"]);
    let (server, key, first) = peer.start(&gateway, &[]);
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

    let (_server, _, second) = peer.start(&gateway, &["--api-key", &key]);
    assert_ne!(first, second);
    let back = event(&watch, "upsert");
    assert_eq!(back["instance"]["id"], second);
    calls(&gateway.http);
    assert_eq!(gateway.process.terminate(), Some(0), "SIGTERM drains and exits 0");
}
