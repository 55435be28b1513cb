//! Files that hold a secret.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a new file that nobody else can read. One that is there stays as it is, and is
/// an error.
pub(crate) fn create(file: &Path, secret: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut made = options.write(true).create_new(true).mode(0o600).open(file)?;
    made.write_all(secret)
}
