//! Building peers: once per run, and by tools that may not be there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use crate::support::process::root;

/// Builds a peer once, for all of its cells.
pub(crate) fn once<P: Clone + Send + Sync + 'static>(
    build: impl Fn() -> Result<P, String> + Clone + Send + 'static,
) -> impl Fn() -> Result<P, String> + Clone + Send + 'static {
    let built: Arc<OnceLock<Result<P, String>>> = Arc::default();
    move || built.get_or_init(&build).clone()
}

/// Where the sources of a peer are.
pub(crate) fn source(peer: &str) -> PathBuf {
    root().join("conformance-tests/interop").join(peer)
}

/// Where a peer is built.
pub(crate) fn built(peer: &str) -> Result<PathBuf, String> {
    let path = root().join("target/interop").join(peer);
    std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
    path.canonicalize().map_err(|error| error.to_string())
}

/// Copies files beside each other, those that changed: what is built of them
/// stays as it is otherwise.
pub(crate) fn copy(files: &[PathBuf], into: &Path) -> Result<(), String> {
    for file in files {
        let target = into.join(file.file_name().unwrap_or_default());
        let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        if std::fs::read(&target).ok().as_ref() != Some(&text) {
            std::fs::write(&target, text).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Runs a tool to its end.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// What a cell is built from, where the gateway knows etcd.
pub(crate) fn with_etcd<P>(
    build: impl Fn() -> Result<P, String> + Send + 'static,
) -> impl Fn() -> Result<P, String> + Send + 'static {
    move || match portolan::schemes().contains(&"etcd") {
        true => build(),
        false => Err("the gateway is built without the feature etcd".to_owned()),
    }
}
