//! The state that watchers read: a copy that follows the tables.
//!
//! Notifications only wake; what decides is the history table, read from the
//! position that was reached.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use registry_api::kernel::{Edit, Entry, Hub, State};
use registry_api::{
    Clock, Era, ErrorKind, InstanceId, Presence, Published, Result, Revision, Scope, Timestamp,
};
use tokio::sync::Mutex;

use crate::connection::Row;
use crate::dialect::Notice;
use crate::read::no_namespace;
use crate::record::Lines;
use crate::session::Session;
use crate::statements::{FEED, NEW_ERA, PAST, POSITION};
use crate::store::Store;

/// The copy, and who waits for it to change.
pub(crate) struct News {
    store: Arc<Store>,
    state: ArcSwap<State>,
    hub: Arc<Hub>,
    /// When it was last known to be up to date, in nanoseconds.
    heard: AtomicU64,
    reader: Mutex<Option<Session>>,
}

/// How many entries are read at once.
const PAGE: u64 = 128;
/// How often a database is asked that tells nothing by itself.
const POLL: Duration = Duration::from_millis(25);
/// How often one is asked that does tell: notifications can be lost.
const DOUBT: Duration = Duration::from_secs(1);

impl News {
    /// Reads everything there is.
    pub(crate) async fn begin(store: Arc<Store>) -> Result<Self> {
        let asked = store.clock.now();
        let mut session = store.session().await?;
        let state = store.see(&mut session, &Scope::All).await?.into_state(store.history);
        Ok(Self {
            state: ArcSwap::from_pointee(state),
            hub: Arc::default(),
            heard: AtomicU64::new(asked.as_nanos()),
            reader: Mutex::new(Some(session)),
            store,
        })
    }

    /// Reads what was written since. What is committed when this is called is in
    /// the state when it returns.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        let mut reader = self.reader.lock().await;
        if let Some(mut kept) = reader.take() {
            match self.read_all(&mut kept).await {
                // It may have died since it was used last.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                done => {
                    *reader = kept.if_well();
                    return done;
                }
            }
        }
        let mut session = self.store.session().await?;
        self.read_all(&mut session).await?;
        *reader = Some(session);
        Ok(())
    }

    async fn read_all(&self, session: &mut Session) -> Result<()> {
        let asked = self.store.clock.now();
        while self.read(session).await? {}
        self.heard.store(asked.as_nanos(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits until something may have been written, by anybody, for a while at
    /// most.
    pub(crate) async fn wait(&self, notice: &mut Option<Box<dyn Notice>>) -> Result<()> {
        let others = async {
            match notice {
                Some(notice) => notice.heard(DOUBT).await.map(drop),
                None => {
                    tokio::time::sleep(POLL).await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            // Our own writes need no messenger.
            () = self.store.written.notified() => Ok(()),
            heard = others => {
                let dialect = &*self.store.dialect;
                heard.map_err(|error| crate::fault::to_error(Some(dialect), error))
            }
        }
    }

    /// Reads one page; whether there may be another.
    async fn read(&self, session: &mut Session) -> Result<bool> {
        let state = self.state.load_full();
        // A notification is a better reason to look than a question before it.
        if self.store.dialect.channel().is_none() && !self.is_behind(session, &state).await? {
            return Ok(false);
        }
        let from = state.position();
        let to = from.saturating_add(PAGE);
        let values = [self.store.ns.into(), from.into(), to.into()];
        let rows = session.rows(FEED, &values).await?;
        let head = rows.first().and_then(Head::read).ok_or_else(no_namespace)?;
        let known = state.catalogue().revision();
        if head.revision.era != known.era {
            self.restart(session).await?;
            return Ok(true);
        }
        if head.position < from || head.revision.number < known.number {
            self.new_era(session, known.era, from).await?;
            return Ok(true);
        }
        if head.position == from {
            return Ok(false);
        }
        let mut next = State::clone(&state);
        if !self.fold(&mut next, &rows, head.position) {
            // The next entries are compacted away.
            self.restart(session).await?;
            return Ok(true);
        }
        let more = next.position() < head.position;
        self.publish(&state, next);
        Ok(more)
    }

    /// Whether there is anything to read. Where asking is cheap it is asked first.
    async fn is_behind(&self, session: &mut Session, state: &State) -> Result<bool> {
        let rows = session.rows(POSITION, &[self.store.ns.into()]).await?;
        let read = || Some((rows.first()?.count(0)?, rows.first()?.count(1)?));
        let (position, era) = read().ok_or_else(no_namespace)?;
        Ok(position != state.position() || era != state.catalogue().revision().era.0)
    }

    /// Takes entries over; whether they follow on what is there.
    fn fold(&self, state: &mut State, rows: &[Row], end: u64) -> bool {
        // A foreign hand may have written where the next entry belongs.
        let entries = rows.iter().filter_map(FeedRow::read);
        let entries = entries.take_while(|row| row.position < end);
        for (position, number, lines) in self.lines(entries) {
            if position != state.position() {
                return false;
            }
            let known = state.catalogue().revision();
            let revision = Revision { era: known.era, number };
            let presence = |id: &InstanceId| state.catalogue().presence(id).cloned();
            let entry = lines.entry(revision, number > known.number, presence);
            state.fold(entry);
        }
        // A page without any entry means that they are gone.
        rows.iter().any(|row| FeedRow::read(row).is_some())
    }

    /// The lines of each entry, which may stand in several rows.
    fn lines<'a>(&self, rows: impl Iterator<Item = FeedRow<'a>>) -> Vec<(u64, u64, Lines)> {
        let mut entries: Vec<(u64, u64, Lines)> = Vec::new();
        for row in rows {
            if entries.last().is_none_or(|(position, ..)| *position != row.position) {
                entries.push((row.position, row.number, Lines::new()));
            }
            if let Some((.., lines)) = entries.last_mut() {
                lines.read(row.format, row.entries);
            }
        }
        for (position, _, lines) in &entries {
            self.store.skip(lines.skipped, "change", &position.to_string());
        }
        entries
    }

    /// Begins anew: watchers get a Reset.
    async fn restart(&self, session: &mut Session) -> Result<()> {
        let state = self.store.see(session, &Scope::All).await?.into_state(self.store.history);
        self.state.store(Arc::new(state));
        self.hub.wake_all();
        Ok(())
    }

    /// The history went back: what comes now is another one.
    async fn new_era(&self, session: &mut Session, era: Era, seen: u64) -> Result<()> {
        let fresh = fastrand::i64(1..i64::MAX);
        let values = [fresh.into(), self.store.ns.into(), era.0.into(), seen.into()];
        let _turn = self.store.turn().await;
        session.run(NEW_ERA, &values).await?;
        Ok(())
    }

    fn publish(&self, before: &State, next: State) {
        let next = Arc::new(next);
        self.state.store(Arc::clone(&next));
        self.hub.wake(next.touched_since(before));
    }

    /// Makes the history reach back to `revision`, if the tables still do.
    pub(crate) async fn reach_back(&self, revision: Revision) -> Result<()> {
        let mut reader = self.reader.lock().await;
        let state = self.state.load_full();
        let floor = state.history().floor();
        if revision.era != floor.era || revision >= floor {
            return Ok(());
        }
        let mut session = match reader.take() {
            Some(session) => session,
            None => self.store.session().await?,
        };
        let oldest = state.entries(0).next().map_or(state.position(), |(position, _)| position);
        let kept = self.store.history as u64;
        // From the write of the revision itself, so that a gap would show.
        let values = [self.store.ns.into(), revision.number.into(), oldest.into(), kept.into()];
        let rows = session.rows(PAST, &values).await?;
        *reader = Some(session);
        let entries = self.past(&rows, floor.era);
        if reaches(&entries, revision, oldest) {
            let mut next = State::clone(&state);
            next.reach_back(revision, entries);
            self.state.store(Arc::new(next));
        }
        Ok(())
    }

    /// Old entries. Of whom they judge is known from what they themselves say.
    fn past(&self, rows: &[Row], era: Era) -> Vec<(u64, Entry)> {
        let mut known: HashMap<InstanceId, Arc<Presence>> = HashMap::new();
        let mut entries = Vec::new();
        let mut last = None;
        for (position, number, lines) in self.lines(rows.iter().filter_map(FeedRow::past)) {
            let revision = Revision { era, number };
            let is_commit = last != Some(number);
            last = Some(number);
            let entry = lines.entry(revision, is_commit, |id| known.get(id).cloned());
            if let Entry::Commit(change) = &entry {
                for edit in &change.edits {
                    if let Edit::Instance { after: Some(after), .. } = edit {
                        known.insert(after.id.clone(), Arc::clone(after));
                    }
                }
            }
            entries.push((position, entry));
        }
        entries
    }
}

/// Whether `entries` hold everything after `revision` up to position `end`.
fn reaches(entries: &[(u64, Entry)], revision: Revision, end: u64) -> bool {
    let first = entries.first().map(|(_, entry)| match entry {
        Entry::Commit(change) => change.revision.number,
        Entry::Health(revision, _) => revision.number,
    });
    let begins = first.is_some_and(|first| first <= revision.number.saturating_add(1));
    let positions = entries.iter().map(|(position, _)| *position);
    let whole = positions.clone().zip(positions.skip(1)).all(|(one, next)| one + 1 == next);
    begins && whole && entries.last().is_some_and(|(position, _)| position + 1 == end)
}

/// A row of the history.
struct FeedRow<'a> {
    position: u64,
    number: u64,
    format: Option<i64>,
    entries: Option<&'a str>,
}

impl<'a> FeedRow<'a> {
    /// Behind the columns of the head.
    fn read(row: &'a Row) -> Option<Self> {
        Self::at(row, 3)
    }

    fn past(row: &'a Row) -> Option<Self> {
        Self::at(row, 0)
    }

    fn at(row: &'a Row, place: usize) -> Option<Self> {
        let (position, number) = (row.count(place)?, row.count(place + 1)?);
        let (format, entries) = (row.int(place + 2), row.text(place + 3));
        Some(Self { position, number, format, entries })
    }
}

/// What every row of the feed begins with.
struct Head {
    revision: Revision,
    position: u64,
}

impl Head {
    fn read(row: &Row) -> Option<Self> {
        let revision = Revision { era: Era(row.count(0)?), number: row.count(1)? };
        Some(Self { revision, position: row.count(2)? })
    }
}

impl Published for News {
    fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.store.clock
    }

    fn heard(&self) -> Timestamp {
        Timestamp::from_nanos(self.heard.load(Ordering::Relaxed))
    }
}

impl Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("News")
    }
}
