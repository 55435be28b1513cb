//! When the tables are followed: while somebody watches, and a little longer.

use std::sync::Arc;
use std::time::Duration;

use registry_api::kernel::Backoff;
use registry_api::{Published, Result};
use tokio::sync::Mutex;

use crate::lane::Lane;
use crate::news::News;
use crate::store::Store;

/// How long the copy is kept up to date after the last watcher has gone.
const IDLE: Duration = Duration::from_secs(10);

/// Starts and keeps what watchers read.
#[derive(Debug)]
pub(crate) struct Following {
    store: Arc<Store>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    news: Arc<News>,
    lane: Lane,
}

impl Following {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, running: Mutex::default() }
    }

    /// The copy, as it is now.
    pub(crate) async fn news(&self) -> Result<Arc<News>> {
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_ref().filter(|running| !running.lane.is_finished()) {
            let news = Arc::clone(&running.news);
            news.catch_up().await?;
            return Ok(news);
        }
        let news = Arc::new(News::begin(Arc::clone(&self.store)).await?);
        let lane = Lane::spawn(follow(Arc::clone(&self.store), Arc::clone(&news)));
        *running = Some(Running { news: Arc::clone(&news), lane });
        Ok(news)
    }

    /// Whether anybody watches.
    pub(crate) fn is_needed(&self) -> bool {
        let Ok(running) = self.running.try_lock() else {
            return true; // Somebody is about to.
        };
        running.as_ref().is_some_and(|running| !running.news.hub().is_empty())
    }
}

/// Follows until nobody watches any more. What breaks is opened again.
async fn follow(store: Arc<Store>, news: Arc<News>) {
    let seed = fastrand::u64(..);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1), seed);
    let mut needed = store.clock.now();
    let mut notice = None;
    loop {
        if !news.hub().is_empty() {
            needed = store.clock.now();
        } else if store.clock.now().since(needed) > IDLE {
            return;
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

type Notices = Option<Option<Box<dyn crate::dialect::Notice>>>;

/// Waits for news, and reads it.
async fn step(store: &Store, news: &News, notice: &mut Notices) -> Result<()> {
    if let Some(notice) = notice {
        news.wait(notice).await?;
    } else {
        // First the ear, then the look: what comes in between is heard.
        let opened = tokio::time::timeout(store.timeout, store.dialect.notice()).await;
        let opened = opened.map_err(|_| crate::fault::too_late())?;
        let dialect = &*store.dialect;
        *notice = Some(opened.map_err(|error| crate::fault::to_error(Some(dialect), error))?);
    }
    news.catch_up().await
}
