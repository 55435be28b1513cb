//! A connection that can be cut: what lies between a handle and its backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream;
use registry_api::kernel::Follow;
use registry_api::{
    Beat, BeatOutcome, Capability, Clock, Error, ErrorKind, Info, InstanceRef, InstanceSpec, Lease,
    Owner, Query, Registration, Registry, Result, Scope, ServiceName, ServiceRecord, View,
    WatchFrom, WatchItem, WatchStream,
};
use tokio::sync::watch;

/// A connection: cut it, heal it, count what goes over it.
#[derive(Clone, Debug)]
pub struct Link {
    up: watch::Sender<bool>,
    round_trips: Arc<AtomicU64>,
    open_watches: Arc<AtomicUsize>,
}

impl Link {
    /// A connection that works.
    pub fn new() -> Self {
        Self {
            up: watch::Sender::new(true),
            round_trips: Arc::default(),
            open_watches: Arc::default(),
        }
    }

    /// Cuts it: calls fail, watches fall silent.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Heals it.
    pub fn heal(&self) {
        self.up.send_replace(true);
    }

    /// Whether it works.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Returns once it is cut.
    pub async fn severed(&self) {
        // Cannot fail while we hold a sender.
        let _ = self.up.subscribe().wait_for(|up| !*up).await;
    }

    /// Counts for this connection and is never cut itself: for the far end of
    /// one that is cut in the middle.
    #[must_use]
    pub fn meter(&self) -> Self {
        Self { up: watch::Sender::new(true), ..self.clone() }
    }

    /// How often a call went over it.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// How many watches are open at the backend.
    pub fn open_watches(&self) -> usize {
        self.open_watches.load(Ordering::Relaxed)
    }

    /// Counts one that went over it.
    pub(crate) fn count(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    fn cross(&self) -> Result<()> {
        self.count();
        match *self.up.borrow() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unavailable, "the connection is cut")),
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// A registry behind a [`Link`]. Its watches survive a cut, as every remote
/// handle's must.
#[derive(Debug)]
pub struct Linked {
    inner: Arc<dyn Registry>,
    link: Link,
    clock: Arc<dyn Clock>,
}

impl Linked {
    /// Puts `link` between a handle and its user.
    pub fn new(inner: Arc<dyn Registry>, link: Link, clock: Arc<dyn Clock>) -> Self {
        Self { inner, link, clock }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Linked {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.link.cross()?;
        self.inner.register(registration).await
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.link.cross()?;
        self.inner.deregister(owner, services).await
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        self.link.cross()?;
        self.inner.connect(instances).await
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.link.cross()?;
        self.inner.heartbeat(beats).await
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.link.cross()?;
        self.inner.disconnect(instances).await
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.link.cross()?;
        self.inner.resolve(query).await
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        let can_resume = self.info().capabilities.has(Capability::Resume);
        let mut following = Following {
            inner: Arc::clone(&self.inner),
            link: self.link.clone(),
            up: self.link.up.subscribe(),
            clock: Arc::clone(&self.clock),
            scope: scope.clone(),
            follow: Follow::new(can_resume, 7).starting(from),
            stream: None,
        };
        following.open().await?;
        let next = |mut following: Following| async move {
            let item = following.next().await;
            Some((item, following))
        };
        Ok(WatchStream::new(stream::unfold(following, next)))
    }
}

struct Following {
    inner: Arc<dyn Registry>,
    link: Link,
    up: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    follow: Follow,
    stream: Option<Open>,
}

/// A stream that is counted while it is open.
struct Open(WatchStream, Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Following {
    async fn open(&mut self) -> Result<()> {
        self.link.cross()?;
        let stream = self.inner.watch(&self.scope, self.follow.reopen()).await?;
        let open = Arc::clone(&self.link.open_watches);
        open.fetch_add(1, Ordering::Relaxed);
        self.stream = Some(Open(stream, open));
        Ok(())
    }

    async fn next(&mut self) -> Result<WatchItem> {
        loop {
            let Some(Open(stream, _)) = &mut self.stream else {
                // Neither fails while we hold a sender.
                let _ = self.up.wait_for(|up| *up).await;
                self.clock.sleep_until(self.clock.now() + self.follow.failed()).await;
                match self.open().await {
                    Err(error) if !error.is_retryable() => return Err(error),
                    Err(_) | Ok(()) => continue,
                }
            };
            tokio::select! {
                biased;
                _ = self.up.wait_for(|up| !*up) => self.stream = None,
                item = stream.next() => match item {
                    Some(Ok(item)) => {
                        if let Some(item) = self.follow.pass(item) {
                            return Ok(item);
                        }
                    }
                    Some(Err(refusal)) => return Err(refusal),
                    None => self.stream = None,
                },
            }
        }
    }
}
