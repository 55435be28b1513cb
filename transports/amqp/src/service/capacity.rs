//! How many calls at a time one service may have here, so that none takes the room of
//! the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Room per calling service. Only those that have calls are known here.
#[derive(Debug)]
pub(super) struct Capacity {
    most: usize,
    callers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A call's room; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    capacity: Arc<Capacity>,
    from: String,
    permit: Option<OwnedSemaphorePermit>,
}

impl Capacity {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, callers: Mutex::default() })
    }

    /// Waits for room, so long at most.
    pub(super) async fn enter(self: &Arc<Self>, from: &str, wait: Duration) -> Option<Slot> {
        let room = {
            let mut callers = self.callers();
            match callers.get(from) {
                Some(room) => Arc::clone(room),
                None => {
                    let room = Arc::new(Semaphore::new(self.most));
                    callers.insert(from.to_owned(), Arc::clone(&room));
                    room
                }
            }
        };
        let permit = timeout(wait, room.acquire_owned()).await.ok()?.ok()?;
        Some(Slot { capacity: Arc::clone(self), from: from.to_owned(), permit: Some(permit) })
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut callers = self.capacity.callers();
        self.permit = None;
        // Who waits has been given what was free.
        if callers
            .get(&self.from)
            .is_some_and(|room| room.available_permits() >= self.capacity.most)
        {
            callers.remove(&self.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_caller_has_room_of_its_own() {
        let capacity = Capacity::new(2);
        let wait = Duration::from_millis(50);
        let one = capacity.enter("a", wait).await.unwrap();
        let _two = capacity.enter("a", wait).await.unwrap();
        assert!(capacity.enter("a", wait).await.is_none(), "no room for a third");
        assert!(capacity.enter("b", wait).await.is_some(), "others have theirs");
        assert_eq!(capacity.callers().len(), 1, "b has nothing here any more");
        let later = tokio::spawn({
            let capacity = Arc::clone(&capacity);
            async move { capacity.enter("a", wait).await }
        });
        tokio::task::yield_now().await;
        drop(one);
        assert!(later.await.unwrap().is_some(), "who waits a little gets what becomes free");
    }
}
