//! etcd: one member, or several that are one cluster.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::keeper::{Server, Start};
use super::{Recipe, command_as, directory_of, free_port, program};
use crate::target::Absent;

/// Whoever runs the tests: a program built for them may be theirs alone.
const USER: &str = "root";

/// Starts a server that is a cluster of its own. Its program is the one that
/// `recipe` names, else the system's.
pub fn etcd(recipe: &Recipe) -> Result<Server, Absent> {
    let mut members = etcd_cluster(recipe, 1)?;
    members.pop().ok_or_else(|| Absent("no member was started".into()))
}

/// Starts a cluster of so many members.
pub fn etcd_cluster(recipe: &Recipe, count: usize) -> Result<Vec<Server>, Absent> {
    let program = match &recipe.program {
        Some(program) => program.clone(),
        None => program("etcd", &["/usr/bin", "/usr/local/bin"])?,
    };
    let mut held = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let ((client, at), (peer, peer_at)) = (free_port()?, free_port()?);
        held.extend([client, peer]);
        places.push((at, peer_at));
    }
    let peers: Vec<_> =
        places.iter().map(|(at, peer)| format!("m{}=http://{peer}", at.port())).collect();
    let peers = peers.join(",");
    drop(held);
    // None is ready before most of them are there.
    let starting: Vec<_> = places
        .into_iter()
        .map(|(at, peer)| {
            let (recipe, program, peers) = (recipe.clone(), program.clone(), peers.clone());
            std::thread::spawn(move || member(&recipe, program, at, peer, peers))
        })
        .collect();
    let joined = starting.into_iter().map(|starting| {
        starting.join().unwrap_or_else(|_| Err(Absent("a starter panicked".into())))
    });
    joined.collect()
}

fn member(
    recipe: &Recipe,
    program: PathBuf,
    at: SocketAddr,
    peer: SocketAddr,
    peers: String,
) -> Result<Server, Absent> {
    let base = recipe.data.clone().unwrap_or_else(std::env::temp_dir);
    let directory = base.join(format!("portolan-etcd-{}", at.port()));
    directory_of(USER, &directory)?;
    let (recipe, data) = (recipe.clone(), directory.join("data"));
    if let Some(snapshot) = &recipe.restored {
        let mut restore = command_as(USER, &super::program("etcdctl", &["/usr/bin"])?, None)?;
        restore.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(snapshot);
        restore.arg(format!("--name=m{}", at.port()));
        restore.arg(format!("--data-dir={}", data.display()));
        restore.arg(format!("--initial-cluster={peers}"));
        restore.arg(format!("--initial-advertise-peer-urls=http://{peer}"));
        super::finish(restore)?;
    }
    let recipe_tls = recipe.tls.is_some();
    let start: Start = Box::new(move || {
        let mut command = command_as(USER, &program, None)?;
        // Settings of the machine's own etcd are not for this one.
        command.env_remove("ETCD_NAME").env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
        command.arg(format!("--name=m{}", at.port()));
        command.arg(format!("--data-dir={}", data.display()));
        let scheme = if recipe.tls.is_some() { "https" } else { "http" };
        for flag in ["listen-client-urls", "advertise-client-urls"] {
            command.arg(format!("--{flag}={scheme}://{at}"));
        }
        for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
            command.arg(format!("--{flag}=http://{peer}"));
        }
        if let Some(tls) = &recipe.tls {
            command.arg(format!("--cert-file={}", tls.cert.display()));
            command.arg(format!("--key-file={}", tls.key.display()));
            command
                .arg(format!("--trusted-ca-file={}", tls.ca.display()))
                .arg("--client-cert-auth");
        }
        command.arg(format!("--initial-cluster={peers}"));
        command.args(["--log-level=error", "--logger=zap"]);
        command.args(&recipe.arguments);
        Ok(command)
    });
    let is_ready = if recipe_tls { accepts } else { is_ready };
    Server::start(at, directory, start, is_ready)
}

/// Whether it accepts connections: all that can be told without a certificate.
fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Whether it says that it is well, which takes a leader.
fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let asks = b"GET /health HTTP/1.0\r\n\r\n";
    let mut answer = String::new();
    let answered = stream.write_all(asks).and_then(|()| stream.read_to_string(&mut answer));
    answered.is_ok() && answer.contains("\"true\"")
}
