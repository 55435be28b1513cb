//! Real processes: started, read line by line, ended with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// A process whose lines are read; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(30));
        line.expect("the program says something")
    }

    /// The next line that satisfies `wanted`, after any that do not.
    pub(crate) fn line_with(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.line();
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Ends it the way an operator does, and returns its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `portolan` with arguments.
pub(crate) fn portolan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(arguments);
    command
}

/// A running gateway process and where it listens.
pub(crate) struct GatewayProcess {
    pub(crate) process: Process,
    pub(crate) http: String,
    pub(crate) admin: String,
    /// `host:port`.
    pub(crate) grpc: String,
    /// Empty where the registry is not served.
    pub(crate) thrift: String,
    /// Empty where nobody asked for it.
    pub(crate) easyops: String,
}

impl GatewayProcess {
    /// On free ports, with these flags besides, and no file unless they say so.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut all = flags.to_vec();
        if !flags.contains(&"--backend") {
            all.extend(["--backend", "memory:"]);
        }
        Self::start_in(Path::new("."), &all)
    }

    /// In a directory, with exactly these flags besides free ports.
    pub(crate) fn start_in(directory: &Path, flags: &[&str]) -> Self {
        Self::start_with(directory, "127.0.0.1:0", flags)
    }

    /// In a directory, with gRPC at this address.
    pub(crate) fn start_at(directory: &Path, grpc: &str) -> Self {
        Self::start_with(directory, grpc, &[])
    }

    fn start_with(directory: &Path, grpc: &str, flags: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let mut command = portolan(&["gateway", "--http", any, "--grpc", grpc, "--admin", any]);
        let process = Process::start(command.args(flags).current_dir(directory));
        let ready = process.line();
        assert!(ready.starts_with("portolan gateway ready http="), "{ready}");
        let found = |name: &str| ready.split(' ').find_map(|part| part.strip_prefix(name));
        let url = |name| format!("http://{}", found(name).expect("the ready line names it"));
        let thrift = found("thrift=").unwrap_or_default().to_owned();
        let grpc = found("grpc=").unwrap_or_default().to_owned();
        let easyops = found("easyops=").unwrap_or_default().to_owned();
        Self { http: url("http="), admin: url("admin="), grpc, thrift, easyops, process }
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
