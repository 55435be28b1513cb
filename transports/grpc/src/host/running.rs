//! The calls of one connection that are being answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Each is a task of its own. Dropping this ends them: nobody is there to be
/// answered.
///
/// Not a `JoinSet`: that wakes the connection for every call that ends.
#[derive(Debug, Default)]
pub(super) struct Running {
    tasks: HashMap<u64, AbortHandle>,
    /// How many may be known before those that have ended are forgotten.
    room: usize,
    windows: Arc<Windows>,
}

/// The least room.
const ROOM: usize = 128;

impl Running {
    /// Starts the call of this number. A gateway that uses one twice can take back
    /// only the later call.
    pub(super) fn start(&mut self, number: u64, call: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(call);
        let replaced = self.tasks.insert(number, task.abort_handle());
        drop(replaced); // It runs on.
        if self.tasks.len() > self.room {
            self.tasks.retain(|_, task| !task.is_finished());
            self.room = ROOM.max(2 * self.tasks.len());
        }
    }

    pub(super) fn cancel(&mut self, number: u64) {
        if let Some(task) = self.tasks.remove(&number) {
            task.abort();
        }
    }

    /// How far those that stream may go.
    pub(super) fn windows(&self) -> &Arc<Windows> {
        &self.windows
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

/// The calls that answer with a stream, and the room their readers have.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<HashMap<u64, Arc<Semaphore>>>);

/// The room of one stream, until this is dropped.
#[derive(Debug)]
pub(super) struct Window {
    windows: Arc<Windows>,
    number: u64,
    room: Arc<Semaphore>,
}

impl Windows {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(self: &Arc<Self>, number: u64, results: usize) -> Window {
        let room = Arc::new(Semaphore::new(results));
        self.lock().insert(number, Arc::clone(&room));
        Window { windows: Arc::clone(self), number, room }
    }

    /// The reader of a stream has room for more.
    pub(super) fn allow(&self, number: u64, more: usize) {
        if let Some(room) = self.lock().get(&number) {
            room.add_permits(more);
        }
    }
}

impl Window {
    /// Waits until there is room for one result more.
    pub(super) async fn pass(&self) {
        // Never closed, and given back by nobody but the reader.
        if let Ok(permit) = self.room.acquire().await {
            permit.forget();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.windows.lock().remove(&self.number);
    }
}
