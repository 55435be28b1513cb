//! hprose: a server and a client by their v2 calls, through the gateway; and its
//! layout in a real etcd, written and read by etcdctl.

use std::path::PathBuf;
use std::process::Command;

use conformance_tests::servers::{Recipe, Server, etcd};
use serde_json::Value;

use crate::matrix::Matrix;
use crate::peer;
use crate::support::process::{GatewayProcess, Process, portolan};

/// As the guide prints it.
const KEY: &str = "hprose-service/tcp.hello.server/fe091d2b-1f58-4eee-a5af-e38ea3099686";
const VALUE: &str = r#"{"UUID":"fe091d2b-1f58-4eee-a5af-e38ea3099686","Domain":"tcp.hello.server","ServerUrl":"tcp4://169.254.128.35:4321/","CPU":8}"#;

pub(crate) fn cells(matrix: &mut Matrix) {
    let build = peer::once(build);
    for backend in ["memory:", "sqlite::memory:"] {
        matrix.cell("hprose peers", manner(backend), build.clone(), move |program| {
            through_the_gateway(program, backend);
        });
    }
    let etcdctl = peer::with_etcd(etcdctl);
    matrix.cell("hprose etcdctl", "reads and writes", etcdctl, |()| by_hand());
}

fn manner(backend: &str) -> &'static str {
    if backend.starts_with("memory") { "v2 over memory" } else { "v2 over sqlite" }
}

fn build() -> Result<PathBuf, String> {
    let built = peer::built("hprose")?;
    let source = peer::source("hprose");
    let files = ["go.mod", "go.sum", "main.go"].map(|name| source.join(name));
    peer::copy(&files, &built)?;
    peer::run(Command::new("go").args(["build", "-o", "peer", "."]).current_dir(&built))?;
    Ok(built.join("peer"))
}

fn etcdctl() -> Result<(), String> {
    peer::run(Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3"))
}

/// Servers write themselves, a client follows them; one of ours is among them, and
/// one that dies is forgotten.
fn through_the_gateway(program: &PathBuf, backend: &str) {
    let flags = ["--hprose", "--backend", backend, "--ttl", "3s", "--ttd", "6s"];
    let gateway = GatewayProcess::start(&flags);
    let server = |url: &str| {
        let mut command = Command::new(program);
        command.args(["server", "--etcd", &gateway.http, "--domain", "hello", "--url", url]);
        Process::start(command.args(["--beat", "500ms"]))
    };
    let mut client = Command::new(program);
    let client =
        Process::start(client.args(["client", "--etcd", &gateway.http, "--domain", "hello"]));
    assert_eq!(client.line(), r#"primary "" of 0"#);
    let first = server("tcp4://127.0.0.1:4321/");
    assert_eq!(client.line(), r#"primary "tcp4://127.0.0.1:4321/" of 1"#);
    let _second = server("tcp4://127.0.0.1:4322/");
    assert!(client.line().ends_with("of 2"));
    let shown = portolan(&["resolve", "hello", "--output", "json", "--gateway", &gateway.admin]);
    let shown = resolved(shown);
    assert_eq!(shown["instances"].as_array().unwrap().len(), 2, "{shown}");
    first.kill();
    // Ten seconds after its last write it is gone, and another one is chosen.
    assert_eq!(client.line(), r#"primary "tcp4://127.0.0.1:4322/" of 1"#);
}

fn resolved(mut command: Command) -> Value {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ctl(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", server.address()));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An operator writes the guide's server into etcd and `portolan resolve` shows it;
/// one that joins through us is found there as the guide prints it.
fn by_hand() {
    let server = etcd(&Recipe::default()).unwrap();
    let url = format!("etcd://{}?dialect=hprose", server.address());
    ctl(&server, &["put", KEY, VALUE]);
    let shown =
        resolved(portolan(&["resolve", "tcp.hello.server", "--output", "json", "--backend", &url]));
    let found = &shown["instances"][0];
    assert_eq!(found["id"], "fe091d2b-1f58-4eee-a5af-e38ea3099686");
    assert_eq!(found["addresses"][0], "tcp4://169.254.128.35:4321/");
    ctl(&server, &["del", "--prefix", "hprose-service/"]);

    // The same server, joined through us: the face of v2 over etcd itself.
    let gateway = GatewayProcess::start(&[
        "--hprose",
        "--backend",
        &url,
        "--allow-addresses",
        "169.254.0.0/16",
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = gateway.http.strip_prefix("http://").unwrap().parse().unwrap();
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("value", VALUE), ("ttl", "10")])
        .finish();
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = format!("/v2/keys/{KEY}");
    let sent = crate::support::send(address, "PUT", &path, &headers, &form);
    let answer = runtime.block_on(sent);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(ctl(&server, &["get", "--prefix", "hprose-service/"]), format!("{KEY}\n{VALUE}\n"));
}
