//! Leases: granted for a connect, given back when it failed or its holder left.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, LeaseGrantOptions};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream;
use registry_api::LeaseTerms;
use registry_api::kernel::Backoff;
use tokio::sync::mpsc;

use crate::fault::Failed;
use crate::lane::Lane;
use crate::record::seconds;
use crate::store::Store;

/// The leases of one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Ends with the ttd; the records hang on it.
    pub(crate) presence: i64,
    /// Ends with the ttl, where that is shorter.
    pub(crate) alive: Option<i64>,
}

impl Pair {
    /// The one that ends first.
    pub(crate) fn shortest(self) -> i64 {
        self.alive.unwrap_or(self.presence)
    }

    /// Both of them.
    pub(crate) fn each(self) -> impl Iterator<Item = i64> {
        [Some(self.presence), self.alive].into_iter().flatten()
    }
}

/// What the ids of our leases begin with. By that a copy for foreign readers is
/// known again, whichever prefix and namespace it is of.
const OURS: i64 = 0x50_4f52;
const OURS_AT: u32 = 40;

/// Whether a lease is one that a registry of this project asked for.
pub(crate) fn is_ours(lease: i64) -> bool {
    lease >> OURS_AT == OURS
}

/// Gives leases back; its task ends with it, and what it did not get to ends by
/// itself.
#[derive(Clone, Debug)]
pub(crate) struct Revoker {
    leases: mpsc::UnboundedSender<i64>,
    _lane: Arc<Lane>,
}

/// Leases that are granted or given back at the same time.
const AT_ONCE: usize = 32;
/// Tries for one lease. It may be that it ended long ago.
const TRIES: u32 = 5;

impl Revoker {
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let (leases, waiting) = mpsc::unbounded_channel();
        Self { leases, _lane: Arc::new(Lane::spawn(revoke(store, waiting))) }
    }

    pub(crate) fn revoke(&self, leases: impl IntoIterator<Item = i64>) {
        // Fails only without a runtime to run on, and then they end by themselves.
        for lease in leases {
            let _ = self.leases.send(lease);
        }
    }
}

async fn revoke(store: Arc<Store>, waiting: mpsc::UnboundedReceiver<i64>) {
    let leases = stream::unfold(waiting, |mut waiting| async move {
        waiting.recv().await.map(|lease| (lease, waiting))
    });
    leases.for_each_concurrent(AT_ONCE, |lease| revoke_one(&store, lease)).await;
}

async fn revoke_one(store: &Store, lease: i64) {
    let (first, most) = (Duration::from_millis(50), Duration::from_secs(1));
    let mut backoff = Backoff::new(first, most, fastrand::u64(..));
    for _ in 0..TRIES {
        let revoke = |mut client: Client| async move { client.lease_revoke(lease).await };
        match store.data.ask(revoke).await {
            Ok(_) | Err(Failed::NoLease) => return,
            Err(_) => tokio::time::sleep(backoff.next_delay()).await,
        }
    }
}

/// Leases for a write, which are given back unless it is kept.
///
/// Their ids are chosen here, so that one can be given back whose grant was not
/// answered.
pub(crate) struct Granted {
    revoker: Revoker,
    wanted: Vec<(i64, i64)>,
    made: usize,
}

impl Granted {
    pub(crate) fn new(revoker: &Revoker) -> Self {
        Self { revoker: revoker.clone(), wanted: Vec::new(), made: 0 }
    }

    /// One more, of so many seconds.
    pub(crate) fn lease(&mut self, seconds: i64) -> i64 {
        let id = (OURS << OURS_AT) | fastrand::i64(0..1 << OURS_AT);
        self.wanted.push((id, seconds));
        id
    }

    /// The leases of a life with these terms.
    pub(crate) fn pair(&mut self, terms: LeaseTerms) -> Pair {
        let (ttd, ttl) = seconds(terms);
        Pair { presence: self.lease(ttd), alive: ttl.map(|ttl| self.lease(ttl)) }
    }

    /// Has etcd grant what was asked for.
    pub(crate) async fn make(&mut self, store: &Store) -> Result<(), Failed> {
        let fresh = self.wanted[self.made..].to_vec();
        self.made = self.wanted.len();
        for part in fresh.chunks(AT_ONCE) {
            try_join_all(part.iter().map(|(id, seconds)| grant(store, *id, *seconds))).await?;
        }
        Ok(())
    }

    /// They are in use.
    pub(crate) fn keep(mut self) {
        self.made = 0;
    }
}

async fn grant(store: &Store, id: i64, seconds: i64) -> Result<(), Failed> {
    let options = LeaseGrantOptions::new().with_id(id);
    let granted =
        store.data.ask(async |mut client| client.lease_grant(seconds, Some(options)).await).await?;
    if granted.0.ttl > seconds {
        // Its minimum was another one when this handle was opened.
        tracing::debug!(asked = seconds, granted = granted.0.ttl, "etcd grants longer leases");
    }
    Ok(())
}

impl Drop for Granted {
    fn drop(&mut self) {
        let made = self.wanted.iter().take(self.made);
        self.revoker.revoke(made.map(|(id, _)| *id));
    }
}
