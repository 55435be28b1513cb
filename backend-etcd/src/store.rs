//! What the parts of one handle share.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp, TxnResponse};
use registry_api::{Clock, Era, Error, ErrorKind, Presence, Result};
use tokio::sync::Notify;

use crate::dialect::Dialect;
use crate::fault::Failed;
use crate::keys::Keys;
use crate::link::{Endpoints, Link};
use crate::options::EtcdOptions;
use crate::read::{signed, unsigned};
use crate::record::{self, Commit};

/// One namespace below one prefix.
pub(crate) struct Store {
    pub(crate) keys: Keys,
    /// For questions and writes.
    pub(crate) data: Link,
    /// For the one watch.
    pub(crate) watch: Link,
    /// The clock of this process: how long things take, never who is alive.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) history: usize,
    /// Foreign layouts that are read; the first is written too.
    pub(crate) dialects: Vec<Dialect>,
    /// The shortest lease etcd grants.
    pub(crate) min_ttl: Duration,
    /// Somebody waits for what should have come through the watch.
    pub(crate) doubted: Notify,
    skipped: AtomicU64,
}

impl Store {
    /// Connects; gives the namespace an era if it has none.
    pub(crate) async fn open(
        options: &EtcdOptions,
        endpoints: &Arc<Endpoints>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut store = Self {
            keys: Keys::new(options.root()),
            data: Link::new(endpoints),
            watch: Link::new(endpoints),
            clock,
            history: options.history,
            dialects: options.dialects.clone(),
            min_ttl: Duration::ZERO,
            doubted: Notify::new(),
            skipped: AtomicU64::new(0),
        };
        store.found().await?;
        store.min_ttl = store.shortest_lease().await?;
        Ok(store)
    }

    /// A transaction that changes nothing, or may be done twice.
    pub(crate) async fn transact(&self, txn: Txn) -> Result<TxnResponse, Failed> {
        let ask = |mut client: Client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        };
        self.data.read(ask).await
    }

    /// Makes the era, if nobody has.
    async fn found(&self) -> Result<(), Failed> {
        let key = self.keys.era();
        let first = fresh_era();
        let absent = Compare::create_revision(&*key, CompareOp::Equal, 0);
        let txn =
            Txn::new().when([absent]).and_then([TxnOp::put(&*key, first.0.to_string(), None)]);
        self.transact(txn).await?;
        Ok(())
    }

    /// Begins another era after `old`, if nobody has.
    pub(crate) async fn begin_era(&self, old: Era) -> Result<(), Failed> {
        let key = self.keys.era();
        let same = Compare::value(&*key, CompareOp::Equal, old.0.to_string());
        let fresh = fresh_era().0.to_string();
        let txn = Txn::new().when([same]).and_then([
            TxnOp::put(&*key, fresh, None),
            TxnOp::put(self.keys.commit(), record::write(&Commit::default()), None),
        ]);
        self.transact(txn).await?;
        tracing::warn!("etcd's revisions went back: watchers begin anew, in another era");
        Ok(())
    }

    /// What etcd makes of the shortest lease there could be.
    async fn shortest_lease(&self) -> Result<Duration, Failed> {
        let granted = {
            let grant = |mut client: Client| async move { client.lease_grant(1, None).await };
            self.data.read(grant).await?
        };
        // It ends by itself if this is not heard.
        let id = granted.id();
        let revoke = |mut client: Client| async move { client.lease_revoke(id).await };
        let _ = self.data.ask(revoke).await;
        Ok(Duration::from_secs(u64::try_from(granted.0.ttl).unwrap_or(1)))
    }

    /// Writes, if the keys `expected` last changed at these revisions, and says at
    /// which revision; `None` if one of them is another.
    pub(crate) async fn commit(
        &self,
        expected: Vec<(String, u64)>,
        mut operations: Vec<TxnOp>,
        commit: &Commit,
    ) -> Result<Option<u64>, Failed> {
        let same = |(key, revision): (String, u64)| {
            Compare::mod_revision(key, CompareOp::Equal, signed(revision))
        };
        operations.push(TxnOp::put(self.keys.commit(), record::write(commit), None));
        let when: Vec<_> = expected.into_iter().map(same).collect();
        let txn = Txn::new().when(when).and_then(operations);
        let write = |mut client: Client| async move { client.txn(txn).await };
        let answer = self.data.ask(write).await?;
        let revision = answer.header().map_or(0, |header| unsigned(header.revision()));
        Ok(answer.succeeded().then_some(revision))
    }

    /// What the keys begin with that are read: our own, and those of others.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        let foreign = self.dialects.iter().flat_map(|dialect| dialect.prefixes());
        let foreign = foreign.map(|prefix| (*prefix).to_owned());
        [self.keys.root().to_owned()].into_iter().chain(foreign).collect()
    }

    /// What shows an instance to foreign readers.
    pub(crate) fn copies(&self, presence: &Presence) -> Vec<(String, Vec<u8>)> {
        self.dialects.first().map(|dialect| dialect.copies(presence)).unwrap_or_default()
    }

    /// Notes a value that could not be understood, and was passed over.
    pub(crate) fn skip(&self, key: &[u8]) {
        let total = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        // A hostile hand must not fill the log too.
        if total > 10 && !total.is_power_of_two() {
            return;
        }
        let key = String::from_utf8_lossy(key);
        tracing::warn!(%key, total, "a stored record cannot be understood; passed over");
    }
}

/// An era nobody has had.
fn fresh_era() -> Era {
    Era(fastrand::u64(1..=i64::MAX as u64))
}

/// A put below a lease.
pub(crate) fn put_on(key: String, value: Vec<u8>, lease: i64) -> TxnOp {
    TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)))
}

/// What the keys of a namespace cannot be without.
pub(crate) fn no_era() -> Error {
    let message = "the namespace has no era; somebody deleted its keys";
    Error::new(ErrorKind::Corrupt, message)
}

impl Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("keys", &self.keys).finish_non_exhaustive()
    }
}
