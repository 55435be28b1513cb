//! Who waits for news of what.
//!
//! A watcher is woken only by changes to a service it named, so that a busy
//! service costs the watchers of the others nothing.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::identity::ServiceName;
use crate::query::Scope;

/// The waiting watchers of one state.
#[derive(Default)]
pub struct Hub(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Woken by everything.
    everything: HashMap<u64, Arc<News>>,
    by_service: HashMap<ServiceName, HashMap<u64, Arc<News>>>,
}

/// Whether there is news for one watcher, and how to wake it.
#[derive(Default)]
struct News(Mutex<(bool, Option<Waker>)>);

impl Hub {
    /// Waits for news of `scope` until the ticket is dropped.
    pub fn join(self: &Arc<Self>, scope: &Scope) -> Ticket {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let (id, news) = (waiting.next, Arc::new(News::default()));
        let services = match scope {
            Scope::Services(names) => names.clone(),
            _ => Vec::new(),
        };
        if services.is_empty() {
            waiting.everything.insert(id, Arc::clone(&news));
        }
        for name in &services {
            let watchers = waiting.by_service.entry(name.clone()).or_default();
            watchers.insert(id, Arc::clone(&news));
        }
        Ticket { hub: Arc::clone(self), id, services, news }
    }

    /// Wakes whoever waits for one of these services, or for everything.
    pub fn wake<'a>(&self, services: impl Iterator<Item = &'a ServiceName>) {
        let waiting = self.waiting();
        let mut woken = HashSet::new();
        for name in services {
            let Some(watchers) = waiting.by_service.get(name) else {
                continue;
            };
            if woken.insert(name) {
                watchers.values().for_each(|news| news.tell());
            }
        }
        // Also for changes of instances without offers, which have no service.
        waiting.everything.values().for_each(|news| news.tell());
    }

    /// Wakes everybody: the state was replaced.
    pub fn wake_all(&self) {
        let waiting = self.waiting();
        let named = waiting.by_service.values().flat_map(HashMap::values);
        waiting.everything.values().chain(named).for_each(|news| news.tell());
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        let waiting = self.waiting();
        waiting.everything.is_empty() && waiting.by_service.is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn tell(&self) {
        let waker = {
            let mut news = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            news.0 = true;
            news.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A place in the hub; leaves when dropped.
pub struct Ticket {
    hub: Arc<Hub>,
    id: u64,
    services: Vec<ServiceName>,
    news: Arc<News>,
}

impl Ticket {
    /// Ready once for everything that was told since it was ready last.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut news = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut news.0) {
            return Poll::Ready(());
        }
        news.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.hub.waiting();
        waiting.everything.remove(&self.id);
        for name in &self.services {
            let Some(watchers) = waiting.by_service.get_mut(name) else {
                continue;
            };
            watchers.remove(&self.id);
            if watchers.is_empty() {
                waiting.by_service.remove(name);
            }
        }
    }
}

impl Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("services", &self.services).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_once_to_those_it_is_about() {
        let hub = Arc::new(Hub::default());
        let name = |text| ServiceName::parse(text).unwrap();
        let (a, b) = (hub.join(&Scope::service(name("a"))), hub.join(&Scope::service(name("b"))));
        let all = hub.join(&Scope::All);
        let mut cx = Context::from_waker(Waker::noop());
        hub.wake([name("a")].iter());
        hub.wake([name("a")].iter());
        assert!(a.poll(&mut cx).is_ready() && all.poll(&mut cx).is_ready());
        assert!(a.poll(&mut cx).is_pending() && b.poll(&mut cx).is_pending());
        hub.wake_all();
        assert!(b.poll(&mut cx).is_ready());
        drop((a, b, all));
        assert!(hub.is_empty());
    }
}
