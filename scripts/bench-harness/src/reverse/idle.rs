//! What a connection costs that does nothing: five thousand, held by a second
//! process, against the resident memory of this one.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portolan::ServiceName;
use portolan::grpc::{ReverseOptions, ReverseServer, Security, channel};
use tokio::runtime::Runtime;

use super::Echo;
use crate::rounds::Table;

const CONNECTIONS: usize = 5_000;

pub fn measure(table: &mut Table, gateways: &Runtime, at: SocketAddr) {
    let before = resident();
    let program = std::env::current_exe().expect("this program");
    let mut holder = Command::new(program)
        .args(["hold", &at.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let mut line = String::new();
    let mut said = std::io::BufReader::new(holder.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut said, &mut line).expect("it says that all are connected");
    gateways.block_on(async { tokio::time::sleep(Duration::from_secs(2)).await });
    let each = (resident() - before) / CONNECTIONS as f64 / 1024.0;
    table.figure("5,000 idle reverse connections: KiB of the gateway each", each, 40.0);
    let _ = holder.kill();
    let _ = holder.wait();
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}

/// The second process: connects, says so, and holds.
pub fn hold(at: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut servers = Vec::new();
        for number in 0..CONNECTIONS {
            let gateway = channel(at, &Security::Plaintext).expect("a channel");
            let services = vec![ServiceName::parse(&format!("idle{number}")).expect("a name")];
            let options = ReverseOptions::default();
            servers.push(ReverseServer::start(services, vec![gateway], Arc::new(Echo), options));
            if number % 100 == 99 {
                futures_util::future::join_all(servers.iter().map(ReverseServer::connected)).await;
            }
        }
        println!("connected");
        std::future::pending::<()>().await;
    });
}
