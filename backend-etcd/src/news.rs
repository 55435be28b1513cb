//! The state that readers and watchers see: a copy that follows the keys.

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use registry_api::kernel::{Entry, Hub, State};
use registry_api::{Clock, Era, Error, ErrorKind, Published, Result, Timestamp};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::fault::Failed;
use crate::following::Following;
use crate::lane::Lane;
use crate::pursuit::Pursuit;
use crate::read::{Snapshot, mod_revision, unsigned};
use crate::store::Store;
use crate::table::{Folded, Put, Table, Touch};

/// The copy, and who waits for it to change.
pub(crate) struct News {
    pub(crate) store: Arc<Store>,
    state: ArcSwap<State>,
    hub: Arc<Hub>,
    /// How far it has got.
    reached: watch::Sender<Reached>,
    /// When it was last known to be up to date, in nanoseconds.
    heard: AtomicU64,
    /// When somebody last wanted to read it, in nanoseconds.
    used: AtomicU64,
    lane: OnceLock<Lane>,
}

/// A place in etcd's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) era: Era,
    pub(crate) revision: u64,
}

/// How long a read waits before it doubts that the watch is well.
const DOUBT: Duration = Duration::from_millis(500);
/// How long it waits at all.
const PATIENCE: Duration = Duration::from_secs(3);

impl News {
    /// Reads everything there is, or was at `revision`, and follows from there.
    pub(crate) async fn begin(
        store: &Arc<Store>,
        revision: Option<u64>,
        following: Weak<Following>,
    ) -> Result<Arc<Self>, Failed> {
        let asked = store.clock.now();
        let snapshot = store.snapshot(revision).await?;
        let (table, reached) = table_of(store, &snapshot);
        let state = State::restore(table.stored(snapshot.revision, 0), store.history);
        let news = Arc::new(Self {
            store: Arc::clone(store),
            state: ArcSwap::from_pointee(state),
            hub: Arc::default(),
            reached: watch::Sender::new(reached),
            heard: AtomicU64::new(asked.as_nanos()),
            used: AtomicU64::new(asked.as_nanos()),
            lane: OnceLock::new(),
        });
        let pursuit = Pursuit::new(&news, following, table, reached);
        // Set once, here.
        let _ = news.lane.set(Lane::spawn(pursuit.run()));
        Ok(news)
    }

    /// Waits until everything is here that was written before this was asked.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        self.touch();
        let head = self.store.head().await?;
        let mut reached = self.reached.subscribe();
        // A write of an era that is over is in no history that follows.
        let there = |reached: &Reached| reached.era == head.era && reached.revision >= head.commit;
        let arrived = async {
            if timeout(DOUBT, reached.wait_for(there)).await.is_err() {
                self.store.doubted.notify_waiters();
                let _ = reached.wait_for(there).await; // The sender is ours.
            }
        };
        timeout(PATIENCE, arrived).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "what was written has not come through the watch")
        })
    }

    /// Somebody wants to read it.
    pub(crate) fn touch(&self) {
        self.used.store(self.store.clock.now().as_nanos(), Ordering::Relaxed);
    }

    /// Whether nobody has wanted it for so long.
    pub(crate) fn is_idle(&self, since: Duration) -> bool {
        let used = Timestamp::from_nanos(self.used.load(Ordering::Relaxed));
        self.hub.is_empty() && self.store.clock.now().since(used) > since
    }

    /// etcd was heard of.
    pub(crate) fn hear(&self) {
        self.heard.store(self.store.clock.now().as_nanos(), Ordering::Relaxed);
    }

    /// The revision of the last write that readers see.
    pub(crate) fn revision(&self) -> u64 {
        self.state.load().catalogue().revision().number
    }

    /// Takes over what a revision did.
    pub(crate) fn publish(&self, folded: Folded, reached: Reached) {
        folded.skipped.iter().for_each(|key| self.store.skip(key));
        if !folded.entries.is_empty() {
            let before = self.state.load();
            let mut state = State::clone(&before);
            folded.entries.into_iter().for_each(|entry: Entry| state.fold(entry));
            let state = Arc::new(state);
            self.state.store(Arc::clone(&state));
            self.hub.wake(state.touched_since(&before));
        }
        self.reached.send_replace(reached);
    }

    /// Begins anew: watchers get a Reset.
    pub(crate) async fn restart(&self) -> Result<(Table, Reached), Failed> {
        let snapshot = self.store.snapshot(None).await?;
        let (table, reached) = table_of(&self.store, &snapshot);
        // Past what any watcher has reached, so that nobody goes on from there.
        let position = self.state.load().position() + 1;
        let state = State::restore(table.stored(snapshot.revision, position), self.store.history);
        self.state.store(Arc::new(state));
        self.hub.wake_all();
        self.reached.send_replace(reached);
        self.hear();
        Ok((table, reached))
    }
}

fn table_of(store: &Store, snapshot: &Snapshot) -> (Table, Reached) {
    let mut table = Table::new(store.keys.clone(), store.dialects.clone(), snapshot.era);
    let touches = snapshot.kvs.iter().map(|kv| Touch {
        key: kv.key(),
        put: Some(Put {
            value: kv.value(),
            lease: kv.lease(),
            since: unsigned(kv.create_revision()),
            revision: mod_revision(kv),
        }),
    });
    let folded = table.fold(snapshot.revision, touches);
    folded.skipped.iter().for_each(|key| store.skip(key));
    (table, Reached { era: snapshot.era, revision: snapshot.revision })
}

impl Published for News {
    fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.store.clock
    }

    fn heard(&self) -> Timestamp {
        Timestamp::from_nanos(self.heard.load(Ordering::Relaxed))
    }
}

impl Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").field("reached", &*self.reached.borrow()).finish_non_exhaustive()
    }
}
