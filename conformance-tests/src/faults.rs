//! A registry that misbehaves on demand, between a handle and its user.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use registry_api::{
    Beat, BeatOutcome, Clock, Era, Error, ErrorKind, Info, InstanceRef, InstanceSpec, Lease, Owner,
    Query, Registration, Registry, Result, Revision, Scope, ServiceName, ServiceRecord, View,
    WatchFrom, WatchItem, WatchStream,
};
use tokio::sync::watch;

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Beats are answered as renewed and go nowhere, so that leases of the
    /// living run out: mass expiry.
    Deaf,
    /// Reads show nothing, of another era: a backend restored empty.
    Empty,
    /// Every call fails, every watch ends.
    Failing,
    /// Failing and fine in turns of this length, failing first.
    Flapping(Duration),
    /// Nothing.
    #[default]
    None,
    /// Every call takes this much longer.
    Slow(Duration),
    /// Watches say nothing.
    Stale,
}

/// The switch of one or several [`Faulty`] handles, and what they counted.
#[derive(Clone, Debug)]
pub struct Faults {
    fault: watch::Sender<Fault>,
    clock: Arc<dyn Clock>,
    since: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
    watches: Arc<AtomicU64>,
}

impl Faults {
    /// Nothing is wrong yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            fault: watch::Sender::default(),
            clock,
            since: Arc::default(),
            requests: Arc::default(),
            watches: Arc::default(),
        }
    }

    /// From now on this is wrong, and nothing else.
    pub fn set(&self, fault: Fault) {
        self.since.store(self.clock.now().as_nanos(), Ordering::Relaxed);
        self.fault.send_replace(fault);
    }

    /// How many calls reached the registry.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many watches were opened at the registry.
    pub fn watches(&self) -> u64 {
        self.watches.load(Ordering::Relaxed)
    }

    fn now(&self) -> Fault {
        match *self.fault.borrow() {
            Fault::Flapping(turn) => {
                let passed = self.clock.now().as_nanos() - self.since.load(Ordering::Relaxed);
                let turns = u128::from(passed) / turn.as_nanos().max(1);
                if turns % 2 == 0 { Fault::Failing } else { Fault::None }
            }
            fault => fault,
        }
    }

    /// Lets a call through, late or not at all.
    async fn pass(&self) -> Result<()> {
        match self.now() {
            Fault::Failing => return Err(failing()),
            Fault::Slow(by) => self.clock.sleep_until(self.clock.now() + by).await,
            Fault::Deaf | Fault::Empty | Fault::Flapping(_) | Fault::None | Fault::Stale => {}
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A registry behind [`Faults`].
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Registry>,
    faults: Faults,
}

impl Faulty {
    /// Puts `faults` between a handle and its user.
    pub fn new(inner: Arc<dyn Registry>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Faulty {
    fn info(&self) -> &Info {
        self.inner.info()
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.faults.pass().await?;
        self.inner.register(registration).await
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.faults.pass().await?;
        self.inner.deregister(owner, services).await
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        self.faults.pass().await?;
        self.inner.connect(instances).await
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.faults.pass().await?;
        match self.faults.now() {
            Fault::Deaf => Ok(vec![BeatOutcome::Renewed; beats.len()]),
            _ => self.inner.heartbeat(beats).await,
        }
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.faults.pass().await?;
        self.inner.disconnect(instances).await
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.faults.pass().await?;
        let view = self.inner.resolve(query).await?;
        Ok(if self.faults.now() == Fault::Empty { nothing(view.revision) } else { view })
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        self.faults.pass().await?;
        self.faults.watches.fetch_add(1, Ordering::Relaxed);
        let watching = Watching {
            inner: Some(self.inner.watch(scope, from).await?),
            faults: self.faults.clone(),
            changed: self.faults.fault.subscribe(),
            last: None,
        };
        let next = |mut watching: Watching| async move {
            let item = watching.next().await?;
            Some((item, watching))
        };
        Ok(WatchStream::new(stream::unfold(watching, next)))
    }
}

struct Watching {
    /// Gone once it ended.
    inner: Option<WatchStream>,
    faults: Faults,
    changed: watch::Receiver<Fault>,
    last: Option<Revision>,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<WatchItem>> {
        loop {
            let inner = self.inner.as_mut()?;
            match self.faults.now() {
                Fault::Failing => return self.end(),
                Fault::Empty if self.last.is_some_and(|last| !is_empty_era(last)) => {
                    let view = nothing(self.last?);
                    self.last = Some(view.revision);
                    return Some(Ok(WatchItem::Reset(view)));
                }
                Fault::Empty if self.last.is_some() => {
                    let _ = self.changed.changed().await; // We hold a sender.
                    return self.end();
                }
                Fault::Stale => {
                    let _ = self.changed.changed().await;
                    continue;
                }
                _ => {}
            }
            let turns = match *self.changed.borrow_and_update() {
                Fault::Flapping(turn) => turn / 2,
                _ => Duration::from_secs(3600),
            };
            tokio::select! {
                biased;
                _ = self.changed.changed() => {}
                item = inner.next() => {
                    if let Some(Ok(item)) = &item {
                        self.last = Some(item.revision());
                    }
                    return item;
                }
                () = self.faults.clock.sleep_until(self.faults.clock.now() + turns) => {}
            }
        }
    }

    fn end(&mut self) -> Option<Result<WatchItem>> {
        self.inner = None;
        Some(Err(failing()))
    }
}

/// The era of a backend that was restored empty: no real one has this bit flipped.
const FLIPPED: u64 = 1 << 63;

fn nothing(last: Revision) -> View {
    let revision = Revision { era: Era(last.era.0 ^ FLIPPED), number: 1 };
    View { revision, services: Vec::new(), instances: Vec::new() }
}

fn is_empty_era(revision: Revision) -> bool {
    revision.number == 1 && revision.era.0 & FLIPPED != 0
}

fn failing() -> Error {
    Error::new(ErrorKind::Unavailable, "the registry is away")
}
