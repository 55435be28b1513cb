//! When the tables are followed: while somebody watches, and a little longer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use registry_api::kernel::Backoff;
use registry_api::{Published, Result, Scope, WatchFrom, WatchStream};
use tokio::sync::Mutex;

use crate::dialect::Notice;
use crate::fault::{to_error, too_late};
use crate::lane::Lane;
use crate::news::News;
use crate::store::Store;

/// How long the copy is kept up to date after the last watcher has gone.
const IDLE: Duration = Duration::from_secs(10);

/// Starts and keeps what watchers read.
#[derive(Debug)]
pub(crate) struct Following {
    store: Arc<Store>,
    /// Held while a watcher joins and while the last one is found to have left,
    /// so that nobody joins what is just given up.
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    news: Arc<News>,
    _lane: Lane,
}

impl Following {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, running: Mutex::default() }
    }

    /// A watch. What was committed before it was asked for is in its first item.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        scope: &Scope,
        from: WatchFrom,
        interval: Duration,
    ) -> Result<WatchStream> {
        // Whoever comes while another tries in vain must not wait for his own turn.
        let turn = tokio::time::timeout(self.store.timeout, self.running.lock()).await;
        let mut running = turn.map_err(|_| too_late())?;
        let news = match &*running {
            Some(running) => {
                running.news.catch_up().await?;
                Arc::clone(&running.news)
            }
            None => {
                let news = Arc::new(News::begin(Arc::clone(&self.store)).await?);
                let task = follow(Arc::clone(&self.store), Arc::clone(&news), Arc::downgrade(self));
                *running = Some(Running { news: Arc::clone(&news), _lane: Lane::spawn(task) });
                news
            }
        };
        if let WatchFrom::Revision(revision) = from {
            news.reach_back(revision).await?;
        }
        Ok(news.follow(scope, from, interval))
    }

    /// Whether anybody watches.
    pub(crate) fn is_needed(&self) -> bool {
        let Ok(running) = self.running.try_lock() else {
            return true; // Somebody is about to.
        };
        running.as_ref().is_some_and(|running| !running.news.hub().is_empty())
    }

    /// Gives the copy up if nobody watches; whether it is given up.
    async fn give_up(&self, news: &News) -> bool {
        let mut running = self.running.lock().await;
        let idle = news.hub().is_empty();
        if idle {
            *running = None;
        }
        idle
    }
}

/// Follows until nobody watches any more. What breaks is opened again.
async fn follow(store: Arc<Store>, news: Arc<News>, following: Weak<Following>) {
    let seed = fastrand::u64(..);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1), seed);
    let mut needed = store.clock.now();
    let mut notice = None;
    loop {
        if !news.hub().is_empty() {
            needed = store.clock.now();
        } else if store.clock.now().since(needed) > IDLE {
            let Some(following) = following.upgrade() else { return };
            if following.give_up(&news).await {
                return;
            }
        }
        match step(&store, &news, &mut notice).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::debug!(%error, "the tables cannot be followed");
                notice = None;
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

type Notices = Option<Option<Box<dyn Notice>>>;

/// Waits for news, and reads it.
async fn step(store: &Store, news: &News, notice: &mut Notices) -> Result<()> {
    if let Some(notice) = notice {
        news.wait(notice).await?;
    } else {
        // First the ear, then the look: what comes in between is heard.
        let opened = tokio::time::timeout(store.timeout, store.dialect.notice()).await;
        let opened = opened.map_err(|_| too_late())?;
        *notice = Some(opened.map_err(|error| to_error(Some(&*store.dialect), error))?);
    }
    news.catch_up().await
}
