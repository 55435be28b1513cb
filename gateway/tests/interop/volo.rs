//! volo-thrift as a server: an echo of bytes.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::matrix::Matrix;
use crate::peer;
use crate::support::process::{GatewayProcess, Process};
use crate::support::{connection, registration};

const IDL: &str = "struct Payload { 1: binary payload }
    service EchoService { Payload echo(1: Payload payload) }";

pub(crate) fn cells(matrix: &mut Matrix) {
    let build = peer::once(build);
    for framing in ["framed", "buffered", "ttheader"] {
        matrix.cell("volo server", framing, build.clone(), move |program| serve(program, framing));
    }
}

fn build() -> Result<PathBuf, String> {
    let built = peer::built("volo")?;
    let manifest = peer::source("volo").join("Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest);
    peer::run(cargo.arg("--target-dir").arg(&built))?;
    Ok(built.join("debug/volo-peer"))
}

fn serve(program: &PathBuf, framing: &str) {
    let gateway = GatewayProcess::start(&[]);
    let server = Process::start(&mut Command::new(program));
    let port = server.line().strip_prefix("serving ").unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = gateway.http.strip_prefix("http://").unwrap().parse().unwrap();
        let json = [("Content-Type", "application/json")];
        let post = async |path: &str, body: &serde_json::Value| {
            crate::support::send(address, "POST", path, &json, &body.to_string()).await
        };
        let registered = post("/register", &registration("o", "EchoService", IDL)).await;
        let key = registered.json()["API-Key"].as_str().unwrap().to_owned();
        let mut connect = connection(&key, "EchoService", "127.0.0.1", &port);
        connect["Metadata"] = json!({"thrift.framing": framing});
        assert_eq!(post("/connect", &connect).await.status, 200);
        // It says where it serves before it does.
        for attempt in 0.. {
            let sent = json!({"payload": "AP8Q"});
            let answer = post("/EchoService/echo", &sent).await;
            if answer.status == 503 && attempt < 50 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
            assert_eq!((answer.status, answer.json()), (200, sent));
            break;
        }
        let large = json!({"payload": "QUJD".repeat(50_000)});
        for _ in 0..5 {
            assert_eq!(post("/EchoService/echo", &large).await.json(), large);
        }
    });
}
