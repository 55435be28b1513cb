//! The calls of one connection that are being answered.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Each is a task of its own. Dropping this ends them: nobody is there to be
/// answered.
///
/// Not a `JoinSet`: that wakes the connection for every call that ends.
#[derive(Debug, Default)]
pub(super) struct Running {
    tasks: HashMap<u64, (AbortHandle, Arc<Semaphore>)>,
    /// How many may be known before those that have ended are forgotten.
    room: usize,
}

/// The least room.
const ROOM: usize = 128;

impl Running {
    /// Starts the call of this number. A gateway that uses one twice can take back
    /// only the later call.
    pub(super) fn start(
        &mut self,
        number: u64,
        window: Arc<Semaphore>,
        call: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = tokio::spawn(call);
        let replaced = self.tasks.insert(number, (task.abort_handle(), window));
        drop(replaced); // It runs on.
        if self.tasks.len() > self.room {
            self.tasks.retain(|_, (task, _)| !task.is_finished());
            self.room = ROOM.max(2 * self.tasks.len());
        }
    }

    /// The reader of a stream has room for more.
    pub(super) fn allow(&self, number: u64, more: usize) {
        if let Some((_, window)) = self.tasks.get(&number) {
            window.add_permits(more);
        }
    }

    pub(super) fn cancel(&mut self, number: u64) {
        if let Some((task, _)) = self.tasks.remove(&number) {
            task.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(task, _)| task.abort());
    }
}
