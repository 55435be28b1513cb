//! A clock of a server's that is moved.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::target::Absent;

/// The offset of a server's clock, in a file that the server reads.
#[derive(Debug)]
pub struct MovedClock {
    file: PathBuf,
    seconds: Mutex<i64>,
}

impl MovedClock {
    /// A clock that is right, so far.
    pub fn new() -> Result<Self, Absent> {
        let random = RandomState::new().hash_one(0);
        let name = format!("portolan-clock-{}-{random:x}", std::process::id());
        let clock = Self { file: std::env::temp_dir().join(name), seconds: Mutex::default() };
        clock.jump(0).ok_or_else(|| Absent("the file for the clock cannot be written".into()))?;
        Ok(clock)
    }

    /// Where the offset stands, for a [`Recipe`](super::Recipe).
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Moves the clock, from where it is.
    pub fn jump(&self, by: i64) -> Option<()> {
        let mut seconds = self.seconds.lock().ok()?;
        *seconds += by;
        // Renamed into place: a reader sees one offset or the other.
        let draft = self.file.with_extension("new");
        std::fs::write(&draft, format!("{:+}\n", *seconds)).ok()?;
        std::fs::rename(&draft, &self.file).ok()
    }
}

impl Drop for MovedClock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
