//! This program once more, as a process that can be killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use backend_sql::{SqlOptions, SqlRegistry};
use conformance_tests::fixtures::instance;
use portolan::{RegistryExt, SystemClock};

use super::contention::lasting;
use super::{Outcome, check};

/// A running process.
pub(super) struct Child(std::process::Child);

impl Child {
    /// One that connects instances, and says so when each is acknowledged.
    pub(super) fn writer(url: &str, name: &str) -> Result<Self, Outcome> {
        let failed = |error: std::io::Error| Outcome::Absent(format!("no process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.env("PORTOLAN_TEST_CHILD", name).env("PORTOLAN_TEST_URL", url);
        command.stdout(Stdio::piped()).spawn().map(Self).map_err(failed)
    }

    /// Kills it; what it had said.
    pub(super) fn kill(mut self) -> Result<Vec<String>, Outcome> {
        let failed = |error: std::io::Error| Outcome::Broken(error.to_string());
        check(self.0.try_wait().map_err(failed)?.is_none(), "a writer ended by itself")?;
        self.0.kill().map_err(failed)?;
        self.0.wait().map_err(failed)?;
        let said = self.0.stdout.take().map(BufReader::new);
        let lines = said.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
        // The last line may have been cut off.
        Ok(lines.filter_map(|line| line.strip_suffix('.').map(str::to_owned)).collect())
    }
}

/// What the process does.
pub(crate) fn run(name: &str) -> ExitCode {
    let url = std::env::var("PORTOLAN_TEST_URL").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.expect("a runtime").block_on(write(&url, name));
    eprintln!("{name}: {done:?}");
    ExitCode::FAILURE
}

async fn write(url: &str, name: &str) -> portolan::Result<()> {
    let handle = SqlRegistry::open(SqlOptions::parse(url)?, Arc::new(SystemClock)).await?;
    for n in 0.. {
        let lease = handle.connect_one(instance(&format!("{name}-{n}"), "a", lasting())).await?;
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}.", lease.id).and_then(|()| out.flush());
    }
    Ok(())
}
