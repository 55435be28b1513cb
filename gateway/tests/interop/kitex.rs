//! Kitex, as a server that joins by the guide and as a client of our host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use conformance_tests::servers::{Recipe, etcd};
use portolan::call::{Call, CallError, Handler, Reply};
use portolan::thrift::{HostOptions, JsonError, JsonHandler, ThriftHost, idl};
use portolan::{Address, Client, InstanceId, InstanceSpec, Offer, ServiceName};
use serde_json::{Value, json};

use crate::matrix::Matrix;
use crate::peer;
use crate::support::process::{GatewayProcess, Process};
use crate::users::{ada, calls};

pub(crate) fn cells(matrix: &mut Matrix) {
    let build = peer::once(build);
    matrix.cell("kitex server", "framed", build.clone(), |program| serve(program, "", false));
    let ttheader = "thrift.framing=ttheader";
    matrix.cell("kitex server", "ttheader", build.clone(), move |program| {
        serve(program, ttheader, false)
    });
    let mux = "thrift.framing=ttheader,thrift.multiplex=true";
    matrix.cell("kitex server", "multiplexed", build.clone(), move |program| {
        serve(program, mux, true)
    });
    for framing in ["framed", "buffered", "ttheader"] {
        matrix.cell("kitex client", framing, build.clone(), move |program| {
            call(program, framing, false)
        });
    }
    let mux = |program: &PathBuf| call(program, "ttheader", true);
    matrix.cell("kitex client", "multiplexed", build.clone(), mux);
    let with_etcd = || peer::with_etcd(build.clone());
    matrix.cell("kitex server", "by etcd", with_etcd(), serve_by_etcd);
    matrix.cell("kitex client", "by etcd", with_etcd(), call_by_etcd);
}

/// Generates Kitex' code from the IDL and builds the program.
fn build() -> Result<PathBuf, String> {
    let built = peer::built("kitex")?;
    let source = peer::source("kitex");
    let files = ["go.mod", "go.sum", "main.go", "server.go", "client.go"];
    let mut files: Vec<_> = files.iter().map(|name| source.join(name)).collect();
    files.push(peer::source("users.thrift"));
    peer::copy(&files, &built)?;
    let go = |arguments: &[&str]| peer::run(Command::new("go").args(arguments).current_dir(&built));
    go(&["tool", "kitex", "-module", "interop", "users.thrift"])?;
    go(&["build", "-o", "peer", "."])?;
    Ok(built.join("peer"))
}

/// A Kitex server joins by the guide and is called through the gateway.
fn serve(program: &PathBuf, facts: &str, mux: bool) {
    let gateway = GatewayProcess::start(&["--ttl", "3s", "--ttd", "6s"]);
    let mut command = Command::new(program);
    command.args(["server", "--gateway", &gateway.http, "--metadata", facts]);
    command.arg(format!("--mux={mux}")).current_dir(program.parent().unwrap());
    let server = Process::start(&mut command);
    assert!(server.line_with(|line| line.starts_with("serving")).len() > 10);
    calls(&gateway.http);
    if !facts.is_empty() {
        let greeting = greet(&gateway.http);
        assert_eq!(greeting, "Olá, Ada Lovelace", "metadata reaches Kitex' metainfo");
    }
    // It beats: it is there after its TTL.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::sleep(std::time::Duration::from_secs(4)).await });
    calls(&gateway.http);
    server.kill();
}

/// A Kitex server registers itself in etcd, as its own extension does it, and is
/// called through the gateway.
fn serve_by_etcd(program: &PathBuf) {
    let etcd = etcd(&Recipe::default()).unwrap();
    let at = etcd.address().to_string();
    let backend = format!("etcd://{at}?dialect=kitex");
    let gateway = GatewayProcess::start(&["--backend", &backend]);
    register(&gateway.http);
    let server = Process::start(Command::new(program).args(["server", "--etcd", &at]));
    server.line_with(|line| line.starts_with("serving"));
    let until = std::time::Duration::from_secs(20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = "/api/v1/services/UserService";
        let admin = gateway.admin.strip_prefix("http://").unwrap().parse().unwrap();
        let joined = async {
            while crate::support::get(admin, path).await.json()["instances"] == json!([]) {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(until, joined).await.expect("it registers a second after it listens");
    });
    calls(&gateway.http);
    // It leaves as it came.
    server.terminate();
    let (_, complaint) = crate::users::call(&gateway.http, "ping", Some(&json!({}))).unwrap_err();
    assert!(complaint.contains("no instance") || complaint.contains("503"), "{complaint}");
}

/// The declaration of the user service, which its etcd record does not hold.
fn register(http: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = http.strip_prefix("http://").unwrap().parse().unwrap();
    let idl = std::fs::read_to_string(peer::source("users.thrift")).unwrap();
    let paths = ["get", "save", "list", "greet", "ping", "forget"].map(|path| {
        let method = match path {
            "get" => "getUser",
            "save" => "saveUser",
            "list" => "listUsers",
            same => same,
        };
        json!({"MethodPath": path, "ExposedMethod": method})
    });
    let owner = json!([{"OwnerName": "Users Inc", "OwnerId": "users-inc", "Services": [
        {"ServiceName": "UserService", "IdlContent": idl, "Paths": paths},
    ]}])
    .to_string();
    let headers = [("Content-Type", "application/json")];
    let sent = crate::support::send(address, "POST", "/register", &headers, &owner);
    assert_eq!(runtime.block_on(sent).status, 200);
}

/// A Kitex client finds a service in etcd that joined through us, and calls it.
fn call_by_etcd(program: &PathBuf) {
    let etcd = etcd(&Recipe::default()).unwrap();
    let at = etcd.address().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let host = runtime.block_on(host());
    let address = Address::parse(&format!("thrift://{}", host.local_addr().unwrap())).unwrap();
    let url = format!("etcd://{at}?dialect=kitex");
    let _membership = runtime.block_on(async {
        let client = Client::open(&url).await.unwrap();
        let id = InstanceId::parse("ours").unwrap();
        let offer = Offer::new(ServiceName::parse("UserService").unwrap(), address);
        let membership = client.join(InstanceSpec::new(id, [offer]));
        membership.connected().await.expect("it joins");
        (client, membership)
    });
    called(program, &["client", "--etcd", &at]);
}

/// A call with a header that Kitex hands to its application.
fn greet(http: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = http.strip_prefix("http://").unwrap().parse().unwrap();
    let headers = [("Content-Type", "application/json"), ("Rpc-Persist-Greeting", "Ol\u{e1}")];
    let sent = crate::support::send(
        address,
        "POST",
        "/UserService/greet",
        &headers,
        "{\"id\": \"9007199254740993\"}",
    );
    runtime.block_on(sent).body
}

/// Our host as the user service: JSON values by the IDL, and the word of a
/// greeting from what travels beside the call.
#[derive(Debug)]
struct Users(JsonHandler);

impl Users {
    fn new() -> Self {
        let text = std::fs::read_to_string(peer::source("users.thrift")).unwrap();
        let idl = Arc::new(idl::parse(&text).unwrap());
        Self(JsonHandler::new(idl, "UserService", |method, argument: Value| match method {
            "getUser" if argument["id"] == ada()["id"] => Ok(ada()),
            "getUser" => Err(JsonError {
                exception: "UserNotFound".to_owned(),
                value: json!({"id": argument["id"], "reason": "no such user"}),
            }),
            "saveUser" => Ok(argument),
            "listUsers" => Ok(json!([ada()])),
            "greet" => Ok(json!("Hello, Ada Lovelace")),
            _ => Ok(Value::Null),
        }))
    }
}

#[async_trait::async_trait]
impl Handler for Users {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let word = call.header("rpc-persist-greeting").map(str::to_owned);
        let reply = self.0.handle(call).await?;
        match word {
            Some(word) => Ok(reply.with_header("rpc-backward-word", word)),
            None => Ok(reply),
        }
    }
}

/// Our host on a port of its own.
async fn host() -> ThriftHost {
    let service = ServiceName::parse("UserService").unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let host = ThriftHost::serve(service, any, Arc::new(Users::new()), HostOptions::default());
    host.await.unwrap()
}

/// A Kitex client calls our host.
fn call(program: &PathBuf, framing: &str, mux: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let host = runtime.block_on(host());
    let address = host.local_addr().unwrap().to_string();
    let mux = format!("--mux={mux}");
    called(program, &["client", "--address", &address, "--transport", framing, &mux]);
}

/// What a client that called every method was told.
fn called(program: &PathBuf, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let mut told = Value::Null;
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        for (key, value) in line.as_object().unwrap() {
            told[key] = value.clone();
        }
    }
    assert_eq!(told["get"], ada());
    assert_eq!(told["save"], ada());
    assert_eq!(told["list"], json!([ada()]));
    assert_eq!(told["greet"], "Hello, Ada Lovelace");
    assert_eq!(told["missing"], json!({"id": 404, "reason": "no such user"}));
    assert_eq!(told["many"], 200, "every answer is its caller's own: {complaint}");
}
