//! The task behind a view: folds the watch, doubts mass expiry, publishes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use registry_api::kernel::{Hold, Replica};
use registry_api::{Clock, Instance, InstanceRef, Timestamp, WatchItem};

use super::census::Reporter;
use super::followed::Followed;
use super::probe::Probe;
use super::watching::Watching;
use super::{Shared, now_or_never};

/// Rebuilding costs a pass over the service; churn must not make it a busy loop.
const REBUILD_INTERVAL: Duration = Duration::from_millis(5);
/// And nine times as long as a pass takes nothing is rebuilt: that is a tenth of
/// one core for a service of any size.
const REST: u32 = 9;
/// The most probes at a time.
const PROBES: usize = 16;

pub(super) struct Follower {
    pub(super) watching: Watching,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) reporter: Reporter,
    pub(super) shared: Arc<Shared>,
}

/// What the task knows.
#[derive(Default)]
struct Known {
    replica: Replica,
    hold: Hold,
    probing: FuturesUnordered<BoxFuture<'static, Option<InstanceRef>>>,
    waiting: Vec<Instance>,
}

impl Follower {
    pub(super) async fn run(mut self) {
        let mut known = Known::default();
        let mut rested = self.clock.now();
        loop {
            let mut news = self.step(&mut known).await;
            if !news {
                continue;
            }
            self.clock.sleep_until(rested).await;
            // What came meanwhile goes into the same snapshot.
            while news {
                let more = now_or_never(self.watching.next()).await;
                news = more.is_some_and(|item| self.take(&mut known, item));
            }
            let begun = self.clock.now();
            self.judge(&mut known);
            self.shared.publish(Followed::new(&known.replica, &known.hold));
            let now = self.clock.now();
            rested = now + (now.since(begun) * REST).max(REBUILD_INTERVAL);
        }
    }

    /// Waits for something to happen. Whether it is worth a snapshot.
    async fn step(&mut self, known: &mut Known) -> bool {
        let never = Timestamp::from_nanos(u64::MAX);
        let wake = known.hold.wake_at().unwrap_or(never);
        tokio::select! {
            biased;
            item = self.watching.next() => self.take(known, item),
            Some(gone) = known.probing.next(), if !known.probing.is_empty() => {
                let refuted = gone.is_some_and(|gone| known.hold.refuted(&gone));
                self.probe(known);
                refuted
            }
            Ok(()) = self.reporter.alarms.changed() => self.judge(known),
            () = self.clock.sleep_until(wake) => self.judge(known),
        }
    }

    fn take(&self, known: &mut Known, item: registry_api::Result<WatchItem>) -> bool {
        match item {
            Ok(item) => {
                let now = self.clock.now();
                self.shared.confirm(now);
                let silent = matches!(item, WatchItem::Progress(_));
                known.hold.note(&known.replica, &item, now);
                known.replica.apply(item) && !silent
            }
            Err(error) => {
                self.shared.failed(&error);
                false
            }
        }
    }

    /// Decides who is held, and starts the probes that are due. Whether anything
    /// changed.
    fn judge(&self, known: &mut Known) -> bool {
        let now = self.clock.now();
        let ended = known.hold.settle(now);
        let routable = known.replica.instances().values().filter(|i| i.is_routable()).count();
        let others = self.reporter.report(known.hold.evidence(routable));
        let begun = known.hold.judge(routable, others, now);
        known.waiting.extend(known.hold.probes(now));
        self.probe(known);
        ended || begun
    }

    fn probe(&self, known: &mut Known) {
        while known.probing.len() < PROBES
            && let Some(instance) = known.waiting.pop()
        {
            let probe = Arc::clone(&self.probe);
            known.probing.push(Box::pin(async move {
                let addresses = instance.offers.iter().flat_map(|offer| offer.addresses.iter());
                for address in addresses {
                    if probe.answers(address).await {
                        return None;
                    }
                }
                Some(instance.reference())
            }));
        }
    }
}
