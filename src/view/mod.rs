//! Services as callers see them: followed by a watch, picked from without a lock.

mod alias;
mod census;
mod follow;
mod followed;
mod probe;
mod recent;
mod views;
pub(crate) mod watching;

use std::fmt::{self, Debug};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use registry_api::{Clock, Error, ErrorKind, Instance, ServiceName, Timestamp, Weight};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use self::alias::AliasTable;
pub use self::followed::Followed;
pub use self::probe::{Probe, TcpProbe};
pub(crate) use self::views::Views;

/// A live view of one service. Cloning shares it; it is followed until the last
/// clone is dropped.
///
/// While the registry is away it keeps showing the last that was known, and
/// says how old that is.
#[derive(Clone)]
pub struct ServiceView {
    shared: Arc<Shared>,
    _following: Arc<Following>,
}

pub(crate) struct Shared {
    service: ServiceName,
    clock: Arc<dyn Clock>,
    current: ArcSwap<Snapshot>,
    /// When the registry last said anything, in nanoseconds of `clock`.
    confirmed: AtomicU64,
    news: watch::Sender<News>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
}

/// What is published: what is known, and how to choose from it.
#[derive(Default)]
struct Snapshot {
    followed: Arc<Followed>,
    routable: AliasTable<Instance>,
}

/// What somebody who waits is woken for.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    snapshots: u64,
    failures: u64,
    failure: Option<(ErrorKind, String)>,
}

/// Somebody who prepares something of every snapshot.
pub(crate) trait Listener: Send + Sync {
    /// There is a new one. Called by the one task that publishes.
    fn published(&self, followed: &Arc<Followed>);
}

struct Following(JoinHandle<()>);

/// How long a caller waits for the first answer of a registry.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

impl ServiceView {
    /// One instance, by weight, of those that are online and ready, or held; of
    /// those that are draining where nobody else is left. No lock, no
    /// allocation.
    #[inline]
    pub fn pick(&self) -> Option<Picked> {
        let snapshot = self.shared.current.load();
        let place = snapshot.routable.choose(fastrand::u64(..))?;
        Some(Picked { snapshot, place })
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.shared.service
    }

    /// Everything that is known now.
    pub fn current(&self) -> Arc<Followed> {
        Arc::clone(&self.shared.current.load().followed)
    }

    /// How long ago the registry last confirmed what is known. While it can be
    /// reached this stays below the `progress_interval` of its limits.
    pub fn age(&self) -> Duration {
        let confirmed = Timestamp::from_nanos(self.shared.confirmed.load(Ordering::Relaxed));
        self.shared.clock.now().since(confirmed)
    }

    /// Returns once the registry has answered for the first time. What it
    /// answered stays known, so this fails for cold callers only: with the
    /// registry's error as soon as it gives one, else after five seconds. Any
    /// number of callers wait for one question.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut news = self.shared.news.subscribe();
        let failures = news.borrow_and_update().failures;
        let deadline = self.shared.clock.now() + FIRST_ANSWER;
        while self.shared.current.load().followed.revision.is_none() {
            let seen = news.borrow_and_update().clone();
            if let Some((kind, reason)) = seen.failure.filter(|_| seen.failures > failures) {
                return Err(Error::new(kind, reason));
            }
            tokio::select! {
                _ = news.changed() => {} // The sender is ours.
                () = self.shared.clock.sleep_until(deadline) => {
                    let reason = "the registry did not tell about the service in time";
                    return Err(Error::new(ErrorKind::Unavailable, reason));
                }
            }
        }
        Ok(())
    }

    /// Returns once what is known satisfies `condition`.
    pub async fn reached(&self, condition: impl Fn(&Followed) -> bool) {
        let mut news = self.shared.news.subscribe();
        while !condition(&self.shared.current.load().followed) {
            if news.changed().await.is_err() {
                std::future::pending().await // The sender is ours: never reached.
            }
        }
    }

    /// Changes with every snapshot.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.shared.news.subscribe()
    }

    /// Has `listener` told of every snapshot, beginning with the current one.
    pub(crate) fn tell(&self, listener: &Arc<impl Listener + 'static>) {
        let weak: Weak<dyn Listener> = Arc::<_>::downgrade(listener) as Weak<dyn Listener>;
        let mut listeners = self.shared.listeners();
        listeners.push(weak);
        // Under the lock, so that no later snapshot is told before this one.
        listener.published(&self.current());
    }
}

impl Shared {
    fn new(service: ServiceName, clock: Arc<dyn Clock>) -> Self {
        Self {
            service,
            confirmed: AtomicU64::new(clock.now().as_nanos()),
            clock,
            current: ArcSwap::default(),
            news: watch::Sender::default(),
            listeners: Mutex::default(),
        }
    }

    fn confirm(&self, now: Timestamp) {
        self.confirmed.store(now.as_nanos(), Ordering::Relaxed);
    }

    fn failed(&self, error: &Error) {
        self.news.send_modify(|news| {
            news.failures += 1;
            news.failure = Some((error.kind(), error.message().to_owned()));
        });
    }

    fn publish(&self, followed: Followed) {
        let followed = Arc::new(followed);
        let weighed = |i: &Instance| (i.clone(), weight_of(i, &self.service).0);
        let routable = AliasTable::new(followed.pickable(|_| true).into_iter().map(weighed));
        let mut listeners = self.listeners();
        // Before readers see it: whoever waits for a snapshot and then asks a
        // listener must not find the one before.
        listeners.retain(|listener| match listener.upgrade() {
            Some(listener) => {
                listener.published(&followed);
                true
            }
            None => false,
        });
        self.current.store(Arc::new(Snapshot { followed, routable }));
        drop(listeners);
        self.news.send_modify(|news| news.snapshots += 1);
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The weight of an instance where it offers `service`.
fn weight_of(instance: &Instance, service: &ServiceName) -> Weight {
    instance.offer(service).map_or(Weight::default(), |offer| offer.weight)
}

/// A picked instance, borrowed from the snapshot it was picked from.
pub struct Picked {
    snapshot: Guard<Arc<Snapshot>>,
    place: usize,
}

impl Deref for Picked {
    type Target = Instance;

    #[inline]
    fn deref(&self) -> &Instance {
        self.snapshot.routable.get(self.place)
    }
}

/// The value of a future that is ready now.
async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Debug for ServiceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceView").field(&self.current()).finish()
    }
}

impl Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    /// Notes whether readers had a snapshot before it was told.
    struct Noting(Arc<Shared>, Mutex<Vec<bool>>);

    impl Listener for Noting {
        fn published(&self, followed: &Arc<Followed>) {
            let before = Arc::ptr_eq(&self.0.current.load().followed, followed);
            self.1.lock().unwrap().push(before);
        }
    }

    #[test]
    fn nobody_sees_a_snapshot_before_its_listeners() {
        let service = ServiceName::parse("users").unwrap();
        let shared = Arc::new(Shared::new(service, Arc::new(SystemClock)));
        let noting = Arc::new(Noting(Arc::clone(&shared), Mutex::default()));
        let weak: Weak<dyn Listener> = Arc::<Noting>::downgrade(&noting) as Weak<dyn Listener>;
        shared.listeners().push(weak);
        shared.publish(Followed::default());
        assert_eq!(*noting.1.lock().unwrap(), [false]);
    }
}
