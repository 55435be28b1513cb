//! A task that belongs to somebody.

use tokio::task::JoinHandle;

/// Ends its task when it is dropped.
#[derive(Debug)]
pub(crate) struct Lane(JoinHandle<()>);

impl Lane {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.abort();
    }
}
