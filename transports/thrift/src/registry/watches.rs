//! Watches that remote readers poll.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use registry_api::{Error, ErrorKind, Namespace, Result, WatchItem, WatchStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Open watches by their ids, which nobody can guess.
#[derive(Debug)]
pub(super) struct Watches {
    open: moka::sync::Cache<i64, Arc<Watch>>,
    next: AtomicU64,
    ids: RandomState,
}

/// One watch. Whoever polls it has it alone.
#[derive(Debug)]
struct Watch {
    space: Namespace,
    stream: Mutex<WatchStream>,
}

/// Forgotten when nobody has polled for this long.
const IDLE: Duration = Duration::from_secs(60);
/// The most watches at a time.
const MAX_OPEN: u64 = 10_000;
/// The most that one poll brings.
const MAX_ITEMS: usize = 256;
/// The longest a poll waits: a revoked key is refused at the next one.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(4);

impl Watches {
    pub(super) fn new() -> Self {
        Self {
            open: moka::sync::Cache::builder().time_to_idle(IDLE).build(),
            next: AtomicU64::new(0),
            ids: RandomState::new(),
        }
    }

    pub(super) fn open(&self, space: Namespace, stream: WatchStream) -> Result<i64> {
        self.open.run_pending_tasks();
        if self.open.entry_count() >= MAX_OPEN {
            return Err(Error::new(ErrorKind::Overloaded, "too many watches are open"));
        }
        let id = self.ids.hash_one(self.next.fetch_add(1, Ordering::Relaxed)) as i64;
        self.open.insert(id, Arc::new(Watch { space, stream: Mutex::new(stream) }));
        Ok(id)
    }

    /// What a watch has to say, and why it says nothing more. A poll that is
    /// given up takes the watch with it: what it had taken is lost.
    pub(super) async fn poll(
        &self,
        space: &Namespace,
        id: i64,
        wait: Duration,
    ) -> Result<(Vec<WatchItem>, Option<Error>)> {
        let watch = self.open.get(&id).filter(|watch| watch.space == *space).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the watch is not open, or no longer")
        })?;
        let mut polling = Polling { watches: self, id, whole: false };
        let mut stream = watch.stream.lock().await;
        let (mut items, mut refusal) = (Vec::new(), None);
        let mut next = timeout(wait.min(MAX_WAIT), stream.next()).await.unwrap_or(None);
        while let Some(item) = next.take() {
            match item {
                Ok(item) => items.push(item),
                Err(error) => refusal = Some(error),
            }
            if refusal.is_none() && items.len() < MAX_ITEMS {
                next = stream.next().now_or_never().flatten();
            }
        }
        polling.whole = refusal.is_none();
        Ok((items, refusal))
    }

    pub(super) fn close(&self, space: &Namespace, id: i64) {
        if self.open.get(&id).is_some_and(|watch| watch.space == *space) {
            self.forget(id);
        }
    }

    /// At once: the cache would keep it until somebody asks for another.
    fn forget(&self, id: i64) {
        self.open.invalidate(&id);
        self.open.run_pending_tasks();
    }
}

/// A poll under way.
struct Polling<'a> {
    watches: &'a Watches,
    id: i64,
    whole: bool,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.watches.forget(self.id);
        }
    }
}
