//! The operations of a transaction about instances.

use std::sync::Arc;

use etcd_client::TxnOp;
use registry_api::{InstanceId, Presence};

use crate::hints::Hint;
use crate::leases::{Granted, Pair};
use crate::load::Found;
use crate::record::{self, Commit, Holder, Offered, seconds};
use crate::store::{Store, put_on};

/// What is to be done, and what follows from it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) operations: Vec<TxnOp>,
    /// Whose records must be as they were read.
    pub(crate) touched: Vec<InstanceId>,
    pub(crate) commit: Commit,
    /// Leases that nothing hangs on any more when it is done.
    pub(crate) replaced: Vec<i64>,
    /// What beats have to know then.
    pub(crate) hints: Vec<(InstanceId, Hint)>,
}

/// Which leases of a life are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Both,
    /// It was silent for its ttl.
    Presence,
    /// Another life, other terms, or none left.
    Nothing,
}

impl Plan {
    /// Makes the keys say `after`.
    pub(crate) fn join(
        &mut self,
        store: &Store,
        before: Option<&Found>,
        after: &Arc<Presence>,
        kept: Kept,
        granted: &mut Granted,
    ) {
        let id = &after.id;
        let old = before.map(|found| found.leases);
        let leases = match (old, kept) {
            (Some(old), Kept::Both) => old,
            (Some(old), Kept::Presence) => {
                let alive = seconds(after.terms).1.map(|ttl| granted.lease(ttl));
                Pair { presence: old.presence, alive }
            }
            _ => granted.pair(after.terms),
        };
        let moves = old.is_none_or(|old| old.presence != leases.presence);
        let same = before.is_some_and(|found| found.presence == *after);
        let count = self.operations.len();
        if moves || !same {
            let holder = record::write(&Holder::of(after));
            self.operations.push(put_on(store.keys.id(id), holder, leases.presence));
            self.offers(store, before.filter(|_| !moves), after, leases.presence);
            self.forget_offers(store, before, after);
        }
        match leases.alive {
            Some(alive) if old.and_then(|old| old.alive) != Some(alive) => {
                self.operations.push(put_on(store.keys.alive(id), Vec::new(), alive));
            }
            None if old.is_some_and(|old| old.alive.is_some()) => {
                self.operations.push(TxnOp::delete(store.keys.alive(id), None));
            }
            _ => {}
        }
        self.copies(store, before, after, leases.shortest());
        if self.operations.len() > count {
            self.touched.push(id.clone());
        }
        let stays = |lease: &i64| leases.each().any(|kept| kept == *lease);
        let gone = old.into_iter().flat_map(Pair::each).filter(|lease| !stays(lease));
        self.replaced.extend(gone);
        self.hints.push((id.clone(), Hint::of(after, leases)));
    }

    /// Puts offers; those that are there already as they are stay.
    fn offers(&mut self, store: &Store, known: Option<&Found>, after: &Presence, lease: i64) {
        for offer in after.offers.iter() {
            let is_there = known.is_some_and(|found| {
                found.presence.epoch == after.epoch && found.presence.offers.contains(offer)
            });
            if !is_there {
                let offered = Offered { epoch: after.epoch, offer: offer.clone() };
                let key = store.keys.offer(&offer.service, &after.id);
                self.operations.push(put_on(key, record::write(&offered), lease));
            }
        }
    }

    /// Deletes what is not offered any more.
    fn forget_offers(&mut self, store: &Store, before: Option<&Found>, after: &Presence) {
        for service in before.into_iter().flat_map(|found| &found.services) {
            if after.offer(service).is_none() {
                let key = store.keys.offer(service, &after.id);
                self.operations.push(TxnOp::delete(key, None));
            }
        }
    }

    /// Shows it to foreign readers, and what they saw before no longer.
    fn copies(&mut self, store: &Store, before: Option<&Found>, after: &Presence, lease: i64) {
        let copies = store.copies(after);
        let old = before.map(|found| store.copies(&found.presence)).unwrap_or_default();
        let stays = before.is_some_and(|found| found.leases.shortest() == lease);
        for (key, _) in old.iter().filter(|(key, _)| copies.iter().all(|(new, _)| new != key)) {
            self.operations.push(TxnOp::delete(key.clone(), None));
        }
        for (key, value) in copies {
            let is_there = stays && old.iter().any(|(old, same)| (old, same) == (&key, &value));
            if !is_there {
                self.operations.push(put_on(key, value, lease));
            }
        }
    }

    /// Takes an instance away whose holder leaves.
    pub(crate) fn leave(&mut self, store: &Store, found: &Found) {
        let id = &found.presence.id;
        let offers = found.services.iter().map(|service| store.keys.offer(service, id));
        let keys = offers.chain([store.keys.id(id), store.keys.alive(id)]);
        let copies = store.copies(&found.presence).into_iter().map(|(key, _)| key);
        self.operations.extend(keys.chain(copies).map(|key| TxnOp::delete(key, None)));
        self.touched.push(id.clone());
        self.commit.left.push(id.clone());
        self.replaced.extend(found.leases.each());
    }
}
