//! Services behind reverse connections, in Python and in Go, and callers at the
//! front door.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::matrix::Matrix;
use crate::peer;
use crate::support::process::{GatewayProcess, Process, portolan, root};

/// Where the peers are built.
#[derive(Clone)]
struct Built {
    directory: PathBuf,
    python: PathBuf,
}

const GRPCIO: &str = "1.85.1";

pub(crate) fn cells(matrix: &mut Matrix) {
    let python = peer::once(python);
    let beside = python.clone();
    let go = peer::once(move || go(beside()?));
    for backend in ["memory:", "sqlite::memory:"] {
        matrix.cell("grpcio service", over(backend), python.clone(), move |built| {
            by_the_guide(&|gateway| built.python_service(gateway), "python", built, backend);
        });
        matrix.cell("grpc-go service", over(backend), go.clone(), move |built| {
            by_the_guide(&|gateway| built.go_service(gateway), "go", built, backend);
        });
    }
    matrix.cell("grpcio service", "over TLS", python.clone(), over_tls);
    matrix.cell("grpcio service", "after a restart", python, after_a_restart);
    matrix.cell("grpc-go service", "called by python", go, services_call_each_other);
}

fn over(backend: &str) -> &'static str {
    if backend.starts_with("memory") { "over memory" } else { "over sqlite" }
}

fn python() -> Result<Built, String> {
    let directory = peer::built("reverse")?;
    let source = peer::source("reverse");
    let proto = root().join("transports/grpc/proto/reverse.proto");
    let files = ["python/service.py", "python/caller.py", "greet.proto"];
    let files: Vec<_> = files.iter().map(|name| source.join(name)).chain([proto]).collect();
    peer::copy(&files, &directory)?;
    let python = directory.join("venv/bin/python");
    if !has_grpc(&python) {
        peer::run(Command::new("python3").args(["-m", "venv"]).arg(directory.join("venv")))?;
        let packages = [format!("grpcio=={GRPCIO}"), format!("grpcio-tools=={GRPCIO}")];
        peer::run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    }
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--grpc_python_out=."]);
    peer::run(protoc.args(["reverse.proto", "greet.proto"]).current_dir(&directory))?;
    Ok(Built { directory, python })
}

fn has_grpc(python: &Path) -> bool {
    let wanted = format!("import grpc; assert grpc.__version__ == '{GRPCIO}'");
    let mut check = Command::new(python);
    check.args(["-c", &wanted]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// grpc-go needs generated code; Python's compiler runs Go's own generators.
fn go(built: Built) -> Result<Built, String> {
    let source = peer::source("reverse/go");
    let directory = built.directory.join("go");
    std::fs::create_dir_all(directory.join("bin")).map_err(|error| error.to_string())?;
    let files = ["go.mod", "go.sum", "main.go"].map(|name| source.join(name));
    peer::copy(&files, &directory)?;
    let generators = [
        "google.golang.org/protobuf/cmd/protoc-gen-go",
        "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
    ];
    peer::run(
        Command::new("go").args(["build", "-o", "bin/"]).args(generators).current_dir(&directory),
    )?;
    let mut protoc = Command::new(&built.python);
    protoc.args(["-m", "grpc_tools.protoc", "-I.."]);
    for plugin in ["go", "go-grpc"] {
        let module = "module=interop/reverse,Mreverse.proto=interop/reverse/registry";
        protoc.arg(format!("--plugin=protoc-gen-{plugin}=bin/protoc-gen-{plugin}"));
        protoc.args([format!("--{plugin}_out=."), format!("--{plugin}_opt={module}")]);
    }
    peer::run(protoc.args(["reverse.proto", "greet.proto"]).current_dir(&directory))?;
    peer::run(Command::new("go").args(["build", "-o", "peer", "."]).current_dir(&directory))?;
    Ok(built)
}

/// What a service is told, and what it says once it is connected.
struct Service<'a> {
    gateway: &'a str,
    name: &'a str,
    key: &'a str,
    ca: Option<&'a Path>,
}

impl<'a> Service<'a> {
    fn new(gateway: &'a str, name: &'a str) -> Self {
        Self { gateway, name, key: "", ca: None }
    }

    fn start(&self, command: &mut Command) -> Process {
        command.args(["--gateway", self.gateway, "--service", self.name, "--api-key", self.key]);
        if let Some(ca) = self.ca {
            command.arg("--ca").arg(ca);
        }
        Process::start(command)
    }
}

impl Built {
    fn python_service(&self, service: &Service<'_>) -> Process {
        let mut command = Command::new(&self.python);
        service.start(command.args(["service.py", "--beat", "1"]).current_dir(&self.directory))
    }

    fn go_service(&self, service: &Service<'_>) -> Process {
        let directory = self.directory.join("go");
        let mut command = Command::new(directory.join("peer"));
        service.start(command.args(["--beat", "1s"]).current_dir(&directory))
    }

    /// What a Python client is answered at the front door.
    fn call(&self, gateway: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.python);
        command.args(["caller.py", "--gateway", gateway]).args(arguments);
        let output = command.current_dir(&self.directory).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

#[allow(clippy::disallowed_methods)] // There is no runtime here to block.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn connected(service: &Process) -> String {
    for _ in 0..50 {
        if let Some(id) = service.line().strip_prefix("connected ") {
            return id.to_owned();
        }
    }
    panic!("the service does not connect");
}

pub(crate) fn shown(gateway: &GatewayProcess, service: &str) -> Value {
    let mut resolve =
        portolan(&["resolve", service, "--output", "json", "--gateway", &gateway.admin]);
    let output = resolve.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// One JSON request over HTTP, and the JSON of its result.
pub(crate) fn post(gateway: &str, path: &str, body: &Value) -> Value {
    let (head, answer) = ask(gateway, path, body);
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {answer}");
    serde_json::from_str(&answer).unwrap()
}

/// One JSON request over HTTP: the head of its answer, and the body.
pub(crate) fn ask(gateway: &str, path: &str, body: &Value) -> (String, String) {
    send(gateway, path, "", &body.to_string())
}

/// One request over HTTP with another line in its head, if it is not empty, and any body.
pub(crate) fn send(gateway: &str, path: &str, line: &str, body: &str) -> (String, String) {
    let address = gateway.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{line}\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The guide, step by step: an owner has a key, a service connects with it, is
/// listed, called over gRPC and over HTTP, and gone when it dies.
fn by_the_guide(
    start: &dyn Fn(&Service<'_>) -> Process,
    language: &str,
    built: &Built,
    backend: &str,
) {
    let gateway = GatewayProcess::start(&["--backend", backend]);
    let registration = json!([{"OwnerName": "me", "OwnerId": "me", "Services": [
        {"ServiceName": "greet.Greeter", "DescriptorSet": built.descriptor_set()}]}]);
    let registered = post(&gateway.http, "/register", &registration);
    let key = registered["API-Key"].as_str().unwrap().to_owned();
    let mut service = Service::new(&gateway.grpc, "greet.Greeter");
    let stranger = start(&service);
    let refused = stranger.line();
    assert!(refused.to_uppercase().contains("PERMISSION"), "{refused}");
    stranger.kill();
    service.key = &key;
    let process = start(&service);
    let id = connected(&process);
    let listed = shown(&gateway, "greet.Greeter");
    assert_eq!(listed["instances"][0]["id"], json!(id), "{listed}");

    assert_eq!(built.call(&gateway.grpc, &["health"]), "ok 0801");
    let answer = built.call(&gateway.grpc, &["/greet.Greeter/SayHello", "you"]);
    assert_eq!(answer, format!("ok hello you from {language} | {language}"));
    let unknown = built.call(&gateway.grpc, &["/greet.Greeter/Nope"]);
    assert!(unknown.starts_with("failed NOT_FOUND"), "{unknown}");
    let nobody = built.call(&gateway.grpc, &["/pkg.Nobody/SayHello", "you"]);
    assert_eq!(nobody, "failed NOT_FOUND Service 'pkg.Nobody' not found in registry");
    let answer = post(&gateway.http, "/greet.Greeter/SayHello", &json!({"name": "web"}));
    assert_eq!(answer["message"], json!(format!("hello web from {language}")), "{answer}");

    process.kill();
    for _ in 0..100 {
        if shown(&gateway, "greet.Greeter")["instances"] == json!([]) {
            assert_eq!(gateway.process.terminate(), Some(0));
            return;
        }
        pause(Duration::from_millis(50));
    }
    panic!("a service that died is still listed");
}

impl Built {
    /// The descriptors of the greeter, as `/register` takes them.
    fn descriptor_set(&self) -> String {
        let mut protoc = Command::new(&self.python);
        protoc.args(["-m", "grpc_tools.protoc", "-I.", "--include_imports"]);
        protoc.args(["--descriptor_set_out=greet.bin", "greet.proto"]);
        peer::run(protoc.current_dir(&self.directory)).unwrap();
        use base64::Engine as _;
        let bytes = std::fs::read(self.directory.join("greet.bin")).unwrap();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }
}

/// With a private authority, over a port that takes nothing but TLS.
fn over_tls(built: &Built) {
    let directory = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Of the same name as its certificates it would be taken for one of them.
    params.distinguished_name.push(DnType::CommonName, "authority of the test");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (cert, key) = (file("cert.pem", cert.pem()), file("key.pem", key.serialize_pem()));
    let ca = file("ca.pem", authority.pem());
    let gateway = GatewayProcess::start(&[
        "--grpc-tls-cert",
        &cert,
        "--grpc-tls-key",
        &key,
        "--grpc-tls-only",
        "--grpc-tokens",
        "token-of-the-test",
    ]);
    let port = gateway.grpc.rsplit_once(':').unwrap().1;
    let address = format!("localhost:{port}");
    let mut service = Service::new(&address, "secure.Greeter");
    (service.key, service.ca) = ("token-of-the-test", Some(Path::new(&ca)));
    let process = built.python_service(&service);
    connected(&process);
    let answer = built.call(&address, &["--ca", &ca, "/secure.Greeter/SayHello", "you"]);
    assert_eq!(answer, "ok hello you from python | python");
    let plain = built.call(&address, &["/secure.Greeter/SayHello", "you"]);
    assert!(plain.starts_with("failed UNAVAILABLE"), "{plain}");
}

/// The gateway is killed and started again where it was: everybody is back.
fn after_a_restart(built: &Built) {
    let directory = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = free.to_string();
    let gateway = GatewayProcess::start_at(directory.path(), &address);
    let names: Vec<_> = (0..4).map(|n| format!("again{n}.Greeter")).collect();
    let services: Vec<_> =
        names.iter().map(|name| built.python_service(&Service::new(&address, name))).collect();
    let first: Vec<_> = services.iter().map(connected).collect();
    gateway.process.kill();
    pause(Duration::from_secs(1));
    let _gateway = GatewayProcess::start_at(directory.path(), &address);
    for (service, (name, old)) in services.iter().zip(names.iter().zip(first)) {
        assert_ne!(connected(service), old, "a new connection has a new id");
        let answer = built.call(&address, &[&format!("/{name}/SayHello"), "you"]);
        assert_eq!(answer, "ok hello you from python | python");
    }
}

/// Python asks Go up its stream.
fn services_call_each_other(built: &Built) {
    let gateway = GatewayProcess::start(&[]);
    let go = built.go_service(&Service::new(&gateway.grpc, "go.Greeter"));
    connected(&go);
    let python = built.python_service(&Service::new(&gateway.grpc, "python.Greeter"));
    connected(&python);
    let answer = built.call(&gateway.grpc, &["/python.Greeter/AskOther", "go.Greeter"]);
    assert_eq!(answer, "ok hello python from go | None");
    let answer = built.call(&gateway.grpc, &["/python.Greeter/AskOther", "nobody.Greeter"]);
    assert!(answer.starts_with("failed NOT_FOUND"), "{answer}");
}
