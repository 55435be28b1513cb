//! Private servers for tests: found on this machine, started with temporary
//! data on a free port of the loopback, as a user without rights, and ended
//! with the test, however that ends.

mod clock;
mod etcd;
mod keeper;
mod mariadb;
mod postgres;
mod rabbitmq;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use self::clock::MovedClock;
pub use self::etcd::{etcd, etcd_cluster};
pub use self::keeper::Server;
pub use self::mariadb::mariadb;
pub use self::postgres::postgres;
pub use self::rabbitmq::{RabbitMq, rabbitmq};
use crate::target::Absent;

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// A file that holds the offset of the server's clock, such as `+3600`, if
    /// its clock is to be moved. Needs libfaketime.
    pub clock: Option<PathBuf>,
    /// Data goes below this directory instead of the system's temporary one.
    pub data: Option<PathBuf>,
    /// Another program than the one that is found.
    pub program: Option<PathBuf>,
    /// Its clients have to show certificates, and are shown one.
    pub tls: Option<TlsRecipe>,
    /// A snapshot that an etcd begins with.
    pub restored: Option<PathBuf>,
    /// Plugins that a RabbitMQ has, of those it comes with.
    pub plugins: Vec<&'static str>,
    /// More arguments.
    pub arguments: Vec<String>,
}

/// Files of a server that speaks TLS and wants its clients to.
#[derive(Clone, Debug)]
pub struct TlsRecipe {
    /// Whose certificates it believes.
    pub ca: PathBuf,
    /// Its own certificate.
    pub cert: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program in one of `directories`, or on the search path.
fn program(name: &str, directories: &[&str]) -> Result<PathBuf, Absent> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let searched = directories.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    let mut files = searched.map(|directory| directory.join(name));
    let found = files.find(|file| file.is_file());
    found.ok_or_else(|| Absent(format!("{name} is not installed")))
}

/// A port that nobody else gets while the listener is held, and where it is.
///
/// It is none that the system gives away by itself: once the listener is let go for
/// the server, who asks for any port is not given this one, and who dials it before
/// the server is there does not meet himself.
fn free_port() -> Result<(TcpListener, SocketAddr), Absent> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: Range<u32> = 20_000..32_000;
    // Processes that test at the same time begin at different ones.
    let begin = std::process::id().wrapping_mul(211);
    let bound = PORTS.into_iter().find_map(|_| {
        let turn = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + turn % (PORTS.end - PORTS.start)).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Some((TcpListener::bind(address).ok()?, address))
    });
    bound.ok_or_else(|| Absent(format!("no free port in {PORTS:?}")))
}

/// Whether this process may become any user.
fn is_root() -> bool {
    // The owner of this process's own entry is who it runs as.
    let owner =
        std::fs::metadata("/proc/self").map(|data| std::os::unix::fs::MetadataExt::uid(&data));
    owner.is_ok_and(|owner| owner == 0)
}

/// A command as `user`, where we may choose; it ends with the thread that
/// starts it. Its clock is moved by what the file `clock` says.
fn command_as(user: &str, program: &Path, clock: Option<&Path>) -> Result<Command, Absent> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    become_user(&mut command, user, program, clock)?;
    Ok(command)
}

/// The same for a program that starts others, whatever becomes of it: they are
/// in a world of processes that ends with it.
fn command_with_children_as(
    user: &str,
    program: &Path,
    clock: Option<&Path>,
) -> Result<Command, Absent> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--pid", "--fork", "--kill-child"]);
    if !is_root() {
        command.args(["--user", "--map-current-user"]);
    }
    // Who becomes another user is no longer told of the end of others.
    command.args(["--", "setpriv", "--pdeathsig", "KILL"]);
    become_user(&mut command, user, program, clock)?;
    Ok(command)
}

/// The rest of a `setpriv` that becomes a user and runs a program.
fn become_user(
    command: &mut Command,
    user: &str,
    program: &Path,
    clock: Option<&Path>,
) -> Result<(), Absent> {
    if is_root() {
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    }
    command.arg("--");
    if let Some(clock) = clock {
        // Not in our own environment: the library keeps what it makes for the
        // first user it sees.
        command.arg("env").args(moved_clock(clock)?);
    }
    command.arg(program);
    Ok(())
}

/// Runs a command to its end.
fn finish(mut command: Command) -> Result<(), Absent> {
    let output = command.output().map_err(|error| Absent(format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(Absent(format!("{command:?} failed: {told}")))
}

/// A directory that `user` owns, if we may give it away.
fn directory_of(user: &str, path: &Path) -> Result<(), Absent> {
    std::fs::create_dir_all(path).map_err(|error| Absent(format!("{path:?}: {error}")))?;
    if !is_root() {
        return Ok(());
    }
    let mut chown = Command::new("chown");
    chown.arg(format!("{user}:")).arg(path);
    finish(chown)
}

/// The variables that move a program's clock by what a file says.
fn moved_clock(file: &Path) -> Result<[String; 4], Absent> {
    let libraries = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"];
    let library = program("libfaketimeMT.so.1", &libraries)?;
    Ok([
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        // Read anew at every look, and what counts time is left alone.
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ])
}
