//! Servers that know no registry and leave a file: `SERVICE.proto` in a directory, written
//! anew every ten seconds and never taken away.
//! Facts: yacloud-software/go-easyops at 57e4de23, `server/`, `client/`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::registry::EasyopsRegistry;
use super::wire::RegisterServiceRequest;

/// Where such servers write.
pub const STANDALONE: &str = "/tmp/local_registry";
/// How often the directory is read.
const EVERY: Duration = Duration::from_secs(5);
/// A file that is older says nothing; who wrote it may still be there.
const STALE: Duration = Duration::from_secs(30);
/// How long a connection to who wrote it may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The most files that are read, and the largest.
const MAX_FILES: usize = 1_000;
const MAX_FILE: u64 = 16 * 1024;
const ENDING: &str = "proto";

/// A file, as it was read.
#[derive(Debug)]
struct Left {
    request: RegisterServiceRequest,
    age: Duration,
}

impl EasyopsRegistry {
    /// Registers, for as long as this runs, the servers on this machine that leave files in
    /// `directory`. A file that is written again is a beat; of one that is not, who wrote
    /// it is asked for a connection, and taken out where there is none.
    pub async fn read_standalone(self: Arc<Self>, directory: PathBuf) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = HashMap::new();
        loop {
            ticks.tick().await;
            let directory = directory.clone();
            let left = tokio::task::spawn_blocking(move || read(&directory)).await;
            for (file, left) in left.ok().and_then(Result::ok).unwrap_or_default() {
                let outcome = match left {
                    Ok(left) => self.take(left).await,
                    Err(error) => Err(error.to_string()),
                };
                tell(&mut told, file, outcome);
            }
        }
    }

    async fn take(&self, left: Left) -> Result<(), String> {
        let port = u16::try_from(left.request.port).unwrap_or_default();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let is_there = left.age < STALE
            || matches!(timeout(CONNECT, TcpStream::connect(here)).await, Ok(Ok(_)));
        let done = match is_there {
            true => self.register(left.request, here).await,
            false => self.forget(&left.request, here).await,
        };
        done.map_err(|error| error.to_string())
    }
}

/// Once, when it changes.
fn tell(told: &mut HashMap<PathBuf, String>, file: PathBuf, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => drop(told.remove(&file)),
        Err(error) if told.get(&file) == Some(&error) => {}
        Err(error) => {
            tracing::warn!(file = %file.display(), error, "the file of a server is passed over");
            told.insert(file, error);
        }
    }
}

type Files = Vec<(PathBuf, io::Result<Left>)>;

fn read(directory: &Path) -> io::Result<Files> {
    let paths = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let files = paths.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
    Ok(files.take(MAX_FILES).map(|path| (path.clone(), left(&path))).collect())
}

fn left(path: &Path) -> io::Result<Left> {
    let odd = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    // Whoever is on this machine may write there; a pipe would be waited for.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(odd("it is no file"));
    }
    let file = File::open(path)?;
    let data = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(odd("it is larger than 16 KiB"));
    }
    let request = RegisterServiceRequest::decode(&bytes[..]);
    let request = request.map_err(|_| odd("it holds no registration"))?;
    Ok(Left { request, age: age(data.modified()?) })
}

/// How long ago, by the clock that files are dated with.
#[allow(clippy::disallowed_methods)] // It is what the file's own date is compared with.
fn age(modified: SystemTime) -> Duration {
    SystemTime::now().duration_since(modified).unwrap_or_default()
}
