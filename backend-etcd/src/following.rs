//! When the keys are followed: while somebody reads, and a little longer.

use std::sync::Arc;
use std::time::Duration;

use registry_api::{
    Error, Published, Query, Result, Revision, Scope, View, WatchFrom, WatchStream,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::fault::too_late;
use crate::news::News;
use crate::store::Store;

/// Starts and keeps the copy that readers and watchers share.
#[derive(Debug)]
pub(crate) struct Following {
    store: Arc<Store>,
    /// Held while somebody joins and while nobody is found to be left, so that
    /// nobody joins what is just given up.
    running: Mutex<Option<Arc<News>>>,
}

/// How long somebody waits for others who begin.
const PATIENCE: Duration = Duration::from_secs(3);

impl Following {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, running: Mutex::default() }
    }

    /// One snapshot, with everything that was written before it was asked for.
    pub(crate) async fn resolve(self: &Arc<Self>, query: &Query) -> Result<View> {
        let news = self.news().await?;
        news.catch_up().await?;
        let state = news.state();
        state.catalogue().view(query, |presence| Some(state.history().told(presence)))
    }

    /// A watch. What was written before it was asked for is in its first item.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        scope: &Scope,
        from: WatchFrom,
        interval: Duration,
    ) -> Result<WatchStream> {
        let mut news = self.news().await?;
        if let WatchFrom::Revision(revision) = from {
            news = self.reach_back(news, revision).await?;
        }
        news.catch_up().await?;
        Ok(news.follow(scope, from, interval))
    }

    /// The copy; begun if nobody has.
    async fn news(self: &Arc<Self>) -> Result<Arc<News>> {
        // Whoever comes while another tries in vain must not wait for his own turn.
        let turn = timeout(PATIENCE, self.running.lock()).await;
        let mut running = turn.map_err(|_| Error::from(too_late()))?;
        if let Some(news) = &*running {
            news.touch();
            return Ok(Arc::clone(news));
        }
        let news = News::begin(&self.store, None, Arc::downgrade(self)).await?;
        *running = Some(Arc::clone(&news));
        Ok(news)
    }

    /// A copy whose history begins at `revision`, as far as etcd still has that.
    /// It takes the place of one that knows less; whoever reads that goes on.
    async fn reach_back(
        self: &Arc<Self>,
        news: Arc<News>,
        revision: Revision,
    ) -> Result<Arc<News>> {
        let state = news.state();
        let known = state.history().floor();
        let (first, last) = (known.number, state.catalogue().revision().number);
        if revision.era != known.era || revision.number >= first || revision.number > last {
            return Ok(news);
        }
        let begun = News::begin(&self.store, Some(revision.number), Arc::downgrade(self)).await;
        let Ok(older) = begun else {
            return Ok(news); // Compacted: the watcher gets a Reset.
        };
        *self.running.lock().await = Some(Arc::clone(&older));
        Ok(older)
    }

    /// Gives the copy up if nobody reads it; whether it is given up.
    pub(crate) async fn give_up(&self, news: &Arc<News>) -> bool {
        let mut running = self.running.lock().await;
        let is_this = running.as_ref().is_some_and(|running| Arc::ptr_eq(running, news));
        let unwanted = is_this && news.is_idle(crate::pursuit::IDLE);
        if unwanted {
            *running = None;
        }
        // One that another has taken the place of ends with its last watcher.
        unwanted
    }
}
