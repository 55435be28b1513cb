//! A task that belongs to somebody.

use registry_api::{Error, ErrorKind};
use tokio::task::JoinHandle;

/// Ends its task when it is dropped.
#[derive(Debug)]
pub(crate) struct Lane(JoinHandle<()>);

impl Lane {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer of a task that has ended.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the handle was closed")
}
