//! Snapshots as a sequence of comings and goings.

use std::collections::{BTreeMap, VecDeque};

use registry_api::{Epoch, Instance, InstanceId, Offer};

use crate::view::{News, ServiceView};

/// Who an instance is, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// The instance.
    pub id: InstanceId,
    /// Which life of it.
    pub epoch: Epoch,
}

/// A change of the set of instances that may be picked.
#[derive(Clone, Debug)]
pub enum Change {
    /// One came, or what it offers changed.
    Come(InstanceKey, Instance),
    /// One went.
    Gone(InstanceKey),
}

/// The changes of a view, beginning with everybody who is there. It never ends
/// and never fails: while the registry is away there are just none.
#[derive(Debug)]
pub struct Changes {
    view: ServiceView,
    news: tokio::sync::watch::Receiver<News>,
    known: BTreeMap<InstanceKey, Option<Offer>>,
    pending: VecDeque<Change>,
}

impl Changes {
    /// The changes of a view from now on.
    pub fn new(view: &ServiceView) -> Self {
        let mut news = view.news();
        news.mark_changed(); // What is there already is news.
        Self { view: view.clone(), news, known: BTreeMap::new(), pending: VecDeque::new() }
    }

    /// The next change. Cancel-safe.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return change;
            }
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await; // The view holds the sender.
            }
            self.compare();
        }
    }

    /// Who came comes first, so that whoever balances is not left with nobody.
    fn compare(&mut self) {
        let followed = self.view.current();
        let service = self.view.service();
        let mut now = BTreeMap::new();
        for instance in followed.pickable(|_| true) {
            let key = InstanceKey { id: instance.id.clone(), epoch: instance.epoch };
            let offer = instance.offer(service).cloned();
            if self.known.get(&key) != Some(&offer) {
                self.pending.push_back(Change::Come(key.clone(), instance.clone()));
            }
            now.insert(key, offer);
        }
        let gone = self.known.keys().filter(|key| !now.contains_key(key));
        self.pending.extend(gone.cloned().map(Change::Gone));
        self.known = now;
    }
}
