//! The calls of one connection that take their time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::AbortHandle;

use crate::link::Outbox;

/// Each is a task of its own. Dropping this ends them: nobody is there to be
/// answered.
///
/// Not a `JoinSet`: that wakes the connection for every call that ends, and a
/// connection that is woken writes what has gathered, be it a single answer.
#[derive(Debug)]
pub(super) struct Running {
    tasks: HashMap<i32, AbortHandle>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    count: AtomicUsize,
    /// Somebody waits for the last one to end.
    draining: AtomicBool,
    outbox: Arc<Outbox>,
}

/// One of them. Its drop says that it has ended, also if it was ended.
struct Ending(Arc<Shared>);

impl Running {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        let (count, draining) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { tasks: HashMap::new(), shared: Arc::new(Shared { count, draining, outbox }) }
    }

    /// Starts the call of this sequence id. A peer that uses an id twice can
    /// cancel only the later call.
    pub(super) fn start(&mut self, sequence: i32, call: impl Future<Output = ()> + Send + 'static) {
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        let ending = Ending(Arc::clone(&self.shared));
        let task = tokio::spawn(async move {
            let _ending = ending;
            call.await;
        });
        let replaced = self.tasks.insert(sequence, task.abort_handle());
        drop(replaced); // It runs on.
        if self.tasks.len() > 2 * self.len() + 64 {
            self.tasks.retain(|_, task| !task.is_finished());
        }
    }

    pub(super) fn cancel(&mut self, sequence: i32) {
        if let Some(task) = self.tasks.remove(&sequence) {
            task.abort();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// From now on the outbox is nudged when the last one ends.
    pub(super) fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let was_last = self.0.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.draining.load(Ordering::SeqCst) {
            self.0.outbox.nudge();
        }
    }
}
