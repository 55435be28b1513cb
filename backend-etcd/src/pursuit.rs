//! The one watch of a handle: opened again when it breaks, doubted when it is
//! quiet, begun anew where etcd does not keep what it missed.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use etcd_client::proto::PbEvent;
use etcd_client::{Client, WatchOptions, WatchResponse, WatchStream};
use registry_api::kernel::Backoff;
use registry_api::{Error, ErrorKind, Timestamp};
use tokio::time::timeout;

use crate::fault::{Failed, failed, too_late};
use crate::following::Following;
use crate::news::{News, Reached};
use crate::read::{signed, unsigned};
use crate::store::Store;
use crate::table::{Put, Table, Touch};

/// Reads the watch into the copy until nobody wants it.
pub(crate) struct Pursuit {
    news: Weak<News>,
    following: Weak<Following>,
    store: Arc<Store>,
    table: Table,
    /// How far our own keys have been followed.
    reached: Reached,
    ranges: Vec<Range>,
    /// A write that is known of, and since when it is due.
    owed: Option<(u64, Timestamp)>,
    /// The watch was opened again for what was due, once.
    reopened: bool,
}

/// Keys that are followed: our own first, then those of others. They are not
/// told of in a common order.
struct Range {
    prefix: String,
    reached: u64,
    /// Events of a response that comes in parts.
    parts: Vec<PbEvent>,
}

/// How often a quiet watch is asked whether it is well.
const QUIET: Duration = Duration::from_secs(1);
/// How often what it told is compared with what was written.
const CHECK: Duration = Duration::from_secs(5);
/// How long an event may be on its way.
const DUE: Duration = Duration::from_secs(1);
/// How long the copy is kept up to date for nobody.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// Why a watch is not read any further.
enum End {
    /// It broke, or may have: opened again where it was.
    Broken(Failed),
    /// What comes next is not to be had: everything is read again.
    Lost,
    /// Nobody wants it.
    Unwanted,
}

impl From<Failed> for End {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Compacted => Self::Lost,
            failed => Self::Broken(failed),
        }
    }
}

impl Pursuit {
    pub(crate) fn new(
        news: &Arc<News>,
        following: Weak<Following>,
        table: Table,
        reached: Reached,
    ) -> Self {
        let range = |prefix| Range { prefix, reached: reached.revision, parts: Vec::new() };
        let ranges = news.store.prefixes().into_iter().map(range).collect();
        Self {
            news: Arc::downgrade(news),
            following,
            store: Arc::clone(&news.store),
            table,
            reached,
            ranges,
            owed: None,
            reopened: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let (first, most) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, most, fastrand::u64(..));
        loop {
            let before = self.reached;
            let Err(end) = self.read().await;
            if self.reached != before {
                backoff.reset();
            }
            let failed = match end {
                End::Unwanted => return,
                End::Lost => self.restart().await.err(),
                End::Broken(failed) => Some(failed),
            };
            if let Some(failed) = failed {
                tracing::debug!(error = %Error::from(failed), "the watch of etcd broke");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }

    async fn restart(&mut self) -> Result<(), Failed> {
        if let Some(news) = self.news.upgrade() {
            (self.table, self.reached) = news.restart().await?;
            self.ranges.iter_mut().for_each(|range| range.reached = self.reached.revision);
            self.reopened = false;
        }
        Ok(())
    }

    /// Reads one watch to its end.
    async fn read(&mut self) -> Result<Infallible, End> {
        self.owed = None;
        self.ranges.iter_mut().for_each(|range| range.parts.clear());
        self.look().await?;
        self.look_back().await?;
        let mut opened = self.store.watch.open().await?;
        let ended = match self.open(&mut opened.client).await {
            Ok(stream) => self.follow(stream).await,
            Err(end) => Err(end),
        };
        if let Err(End::Broken(_)) = ended {
            self.store.watch.give_up(opened.number()).await;
        }
        ended
    }

    /// Opens the watch after what was reached.
    async fn open(&self, client: &mut Client) -> Result<WatchStream, End> {
        let mut opened: Option<WatchStream> = None;
        for (id, range) in (1..).zip(&self.ranges) {
            let options = WatchOptions::new()
                .with_prefix()
                .with_fragment()
                .with_watch_id(id)
                .with_start_revision(signed(range.reached + 1));
            let (prefix, options) = (&*range.prefix, Some(options));
            let opening = async {
                match &mut opened {
                    None => opened = Some(client.watch(prefix, options).await?),
                    Some(stream) => stream.watch(prefix, options).await?,
                }
                Ok(())
            };
            match timeout(self.store.watch.patience(), opening).await {
                Ok(done) => done.map_err(failed)?,
                Err(_) => return Err(too_late().into()),
            }
        }
        opened.ok_or_else(|| ended().into())
    }

    /// Looks at what was written, past the watch.
    async fn look(&mut self) -> Result<(), End> {
        let head = self.store.head().await?;
        if head.era != self.table.era() {
            return Err(End::Lost);
        }
        if head.now < self.reached.revision {
            return self.begin_era().await;
        }
        if head.commit > self.reached.revision && self.owed.is_none() {
            self.owed = Some((head.commit, self.store.clock.now()));
        }
        Ok(())
    }

    /// Looks whether the last write that was told of is in etcd's history: one that
    /// was restored may have been written to so much that its revisions are past
    /// ours again.
    async fn look_back(&mut self) -> Result<(), End> {
        let commit = self.table.commit();
        if commit > 0 && self.store.remembers(commit).await? == Some(false) {
            return self.begin_era().await;
        }
        Ok(())
    }

    async fn begin_era(&self) -> Result<(), End> {
        self.store.begin_era(self.table.era()).await?;
        Err(End::Lost)
    }

    async fn follow(&mut self, mut stream: WatchStream) -> Result<Infallible, End> {
        let mut asked = None;
        let mut checked = self.store.clock.now();
        loop {
            let message = tokio::select! {
                message = stream.message() => Some(message),
                () = self.store.doubted.notified() => {
                    self.look().await?;
                    None
                }
                () = tokio::time::sleep(QUIET) => None,
            };
            let now = self.store.clock.now();
            self.still_wanted().await?;
            match message {
                Some(message) => {
                    let response = message.map_err(failed)?.ok_or_else(|| End::from(ended()))?;
                    asked = None;
                    self.take(response)?;
                }
                None => {
                    let silent =
                        asked.is_some_and(|asked| now.since(asked) > self.store.watch.patience());
                    if silent {
                        return Err(too_late().into());
                    }
                    asked.get_or_insert(now);
                    timeout(self.store.watch.patience(), stream.request_progress())
                        .await
                        .map_err(|_| too_late())?
                        .map_err(failed)?;
                }
            }
            self.settle(now)?;
            if now.since(checked) > CHECK {
                checked = now;
                self.look().await?;
            }
        }
    }

    /// Ends this where nobody has read the copy for a while.
    async fn still_wanted(&self) -> Result<(), End> {
        let news = self.news.upgrade().ok_or(End::Unwanted)?;
        if news.is_idle(IDLE)
            && let Some(following) = self.following.upgrade()
            && following.give_up(&news).await
        {
            return Err(End::Unwanted);
        }
        Ok(())
    }

    /// What is due has come, or is not coming: then the watch is opened again, and
    /// if that does not help, everything is read again.
    fn settle(&mut self, now: Timestamp) -> Result<(), End> {
        let Some((revision, since)) = self.owed else { return Ok(()) };
        if revision <= self.reached.revision {
            (self.owed, self.reopened) = (None, false);
        } else if now.since(since) > DUE {
            tracing::warn!(revision, "etcd's watch did not tell of a write");
            let again = std::mem::replace(&mut self.reopened, true);
            return Err(if again { End::Lost } else { too_late().into() });
        }
        Ok(())
    }

    /// Takes over a response, revision by revision.
    fn take(&mut self, mut response: WatchResponse) -> Result<(), End> {
        let news = self.news.upgrade().ok_or(End::Unwanted)?;
        if response.compact_revision() > 0 {
            return Err(End::Lost);
        }
        if response.canceled() {
            tracing::debug!(reason = response.cancel_reason(), "etcd ended the watch");
            return Err(ended().into());
        }
        news.hear();
        let place = usize::try_from(response.watch_id()).unwrap_or_default().wrapping_sub(1);
        let Some(range) = self.ranges.get_mut(place) else {
            return Ok(()); // About all of them: that it is alive.
        };
        range.parts.append(&mut response.0.events);
        if response.0.fragment {
            return Ok(());
        }
        let events = std::mem::take(&mut range.parts);
        for events in events.chunk_by(|a, b| revision_of(a) == revision_of(b)) {
            let revision = events.first().map_or(0, revision_of);
            // A revision that is here already came through the watch before.
            if revision > self.ranges[place].reached {
                self.ranges[place].reached = revision;
                self.fold(&news, place, revision, events)?;
            }
        }
        Ok(())
    }

    /// Takes over what a revision did to one of the ranges.
    fn fold(
        &mut self,
        news: &News,
        place: usize,
        revision: u64,
        events: &[PbEvent],
    ) -> Result<(), End> {
        // What others wrote may be told of late, and revisions only grow.
        let latest = revision.max(news.revision());
        let folded = self.table.fold(latest, events.iter().filter_map(touch));
        if folded.new_era {
            return Err(End::Lost);
        }
        if place == 0 {
            self.reached.revision = revision;
        }
        news.publish(folded, self.reached);
        Ok(())
    }
}

fn touch(event: &PbEvent) -> Option<Touch<'_>> {
    let kv = event.kv.as_ref()?;
    let put = (event.r#type == PUT).then(|| Put {
        value: &kv.value,
        lease: kv.lease,
        since: unsigned(kv.create_revision),
        revision: unsigned(kv.mod_revision),
    });
    Some(Touch { key: &kv.key, put })
}

/// The number of a put; the other kind is a deletion.
const PUT: i32 = 0;

fn revision_of(event: &PbEvent) -> u64 {
    event.kv.as_ref().map_or(0, |kv| unsigned(kv.mod_revision))
}

/// The end of a stream that has none.
fn ended() -> Failed {
    Failed::Unreachable(Error::new(ErrorKind::Unavailable, "etcd ended the watch"))
}
