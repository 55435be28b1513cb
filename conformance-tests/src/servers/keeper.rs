//! A running server, and the thread that its life hangs on.

use std::fmt::{self, Debug};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::PATIENCE;
use crate::target::Absent;

/// Makes the command that starts a server; used again after a kill.
pub(super) type Start = Box<dyn Fn() -> Result<Command, Absent> + Send>;

/// A server that runs until this is dropped.
pub struct Server {
    address: SocketAddr,
    directory: PathBuf,
    asks: Mutex<mpsc::Sender<Ask>>,
}

/// What the keeper is to do.
enum Ask {
    /// Start it again, if it has ended.
    Restart(mpsc::Sender<Result<(), Absent>>),
    /// With this signal; `KILL` also starts the server again.
    Signal(&'static str, mpsc::Sender<Result<(), Absent>>),
}

impl Server {
    /// Starts a server whose data is in `directory`, and waits for it.
    ///
    /// A server dies with the thread that started it, so it gets one of its own:
    /// whatever ends this process ends the server.
    pub(super) fn start(
        address: SocketAddr,
        directory: PathBuf,
        start: Start,
        is_ready: fn(SocketAddr) -> bool,
    ) -> Result<Self, Absent> {
        let (asks, asked) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let log = directory.join("log");
        std::thread::spawn(move || {
            let launch = || launch(&start, &log, address, is_ready);
            let started = launch();
            let (child, result) = match started {
                Ok(child) => (Some(child), Ok(())),
                Err(absent) => (None, Err(absent)),
            };
            let _ = tell.send(result);
            if let Some(child) = child {
                keep(child, &launch, &asked);
            }
        });
        let server = Self { address, directory, asks: Mutex::new(asks) };
        told.recv().unwrap_or_else(|_| Err(Absent("the server's keeper ended".into())))?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its data is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills it without a warning, and starts it again.
    pub fn kill_and_restart(&self) -> Result<(), Absent> {
        self.ask("KILL")
    }

    /// Starts it again, if it has ended by itself.
    pub fn restart_if_ended(&self) -> Result<(), Absent> {
        self.tell(Ask::Restart)
    }

    /// Stops it from running, without ending it.
    pub fn freeze(&self) -> Result<(), Absent> {
        self.ask("STOP")
    }

    /// Lets it run again.
    pub fn thaw(&self) -> Result<(), Absent> {
        self.ask("CONT")
    }

    fn ask(&self, signal: &'static str) -> Result<(), Absent> {
        self.tell(|tell| Ask::Signal(signal, tell))
    }

    fn tell(
        &self,
        ask: impl FnOnce(mpsc::Sender<Result<(), Absent>>) -> Ask,
    ) -> Result<(), Absent> {
        let (tell, told) = mpsc::channel();
        let asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || Absent("the server's keeper ended".into());
        asks.send(ask(tell)).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The keeper ends with its channel, and the server with it.
        let (closed, _) = mpsc::channel();
        *self.asks.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

fn keep(mut child: Child, launch: &dyn Fn() -> Result<Child, Absent>, asked: &mpsc::Receiver<Ask>) {
    while let Ok(ask) = asked.recv() {
        let (tell, done) = match ask {
            Ask::Signal("KILL", tell) => {
                let _ = (send("KILL", &child), child.wait());
                (tell, launch().map(|again| child = again))
            }
            Ask::Signal("STOP", tell) => (tell, stop(&child)),
            Ask::Signal(signal, tell) => (tell, send(signal, &child)),
            Ask::Restart(tell) => match child.try_wait() {
                Ok(Some(_)) => (tell, launch().map(|again| child = again)),
                Ok(None) | Err(_) => (tell, Ok(())),
            },
        };
        let _ = tell.send(done);
    }
    // A server that is frozen cannot die by itself.
    let _ = (send("CONT", &child), child.kill(), child.wait());
}

/// Stops the server, and waits until it stands still: a thread that waits for a
/// processor takes the signal when it gets one, and the others serve until then.
#[allow(clippy::disallowed_methods)] // A thread of its own, waiting for another program.
fn stop(child: &Child) -> Result<(), Absent> {
    let step = Duration::from_millis(1);
    send("STOP", child)?;
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if family(&child.id().to_string()).iter().all(|pid| stands_still(pid)) {
            return Ok(());
        }
        std::thread::sleep(step);
    }
    Err(Absent(format!("process {} goes on after a stop", child.id())))
}

/// Whether no thread of a process runs, or can.
fn stands_still(pid: &str) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let runs = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold any.
        let state = stat.rsplit_once(") ").and_then(|(_, state)| state.chars().next());
        state.is_some_and(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
    };
    !threads.flatten().any(runs)
}

/// Signals the server and everything it started.
fn send(signal: &str, child: &Child) -> Result<(), Absent> {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{signal}")).args(family(&child.id().to_string()));
    // A child may have ended meanwhile.
    kill.stderr(Stdio::null());
    kill.status().map(drop).map_err(|error| Absent(format!("kill: {error}")))
}

/// A process, and all that descend from it.
fn family(pid: &str) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let descend = children.split_whitespace().flat_map(family);
    std::iter::once(pid.to_owned()).chain(descend).collect()
}

#[allow(clippy::disallowed_methods)] // A thread of its own, waiting for another program.
fn launch(
    start: &Start,
    log: &Path,
    address: SocketAddr,
    is_ready: fn(SocketAddr) -> bool,
) -> Result<Child, Absent> {
    let step = Duration::from_millis(50);
    let mut command = start()?;
    let spawn = |command: &mut Command| {
        let log = File::options().create(true).append(true).open(log);
        let spawned = log
            .and_then(|log| command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn());
        spawned.map_err(|error| Absent(format!("{command:?}: {error}")))
    };
    let mut child = spawn(&mut command)?;
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if is_ready(address) {
            return Ok(child);
        }
        // One that was killed leaves memory that takes a moment to go.
        if let Ok(Some(_)) = child.try_wait() {
            child = spawn(&mut command)?;
        }
        std::thread::sleep(step);
    }
    let _ = child.kill();
    let told = std::fs::read_to_string(log).unwrap_or_default();
    let told = told.lines().last().unwrap_or("nothing");
    Err(Absent(format!("{command:?} was not ready within {PATIENCE:?}; it said: {told}")))
}
