//! A watcher's place in the history.
//!
//! Holds a position and a scope, never events: a watcher that does not read
//! costs the same as one that does.

use super::catalogue::Catalogue;
use super::change::HealthChange;
use super::compact::compact;
use super::history::{Entry, History};
use crate::instance::{Health, Presence};
use crate::query::{Scope, View};
use crate::revision::{Era, Revision};
use crate::watch::{Event, WatchFrom, WatchItem};

/// A watcher's scope and its position in the history.
#[derive(Debug)]
pub struct Cursor {
    scope: Scope,
    /// Positions of another history mean nothing here.
    era: Era,
    position: u64,
    first: Option<WatchItem>,
    resumed: Option<Resumed>,
}

/// A resumed watch repeats commits, and must not repeat old judgements.
#[derive(Debug)]
struct Resumed {
    after: Revision,
    until: u64,
}

/// A reader this many entries behind gets them as one.
const BEHIND: u64 = 256;

impl Cursor {
    /// A watcher that begins at `from`, as the registry stands.
    pub fn new(scope: Scope, from: WatchFrom, catalogue: &Catalogue, history: &History) -> Self {
        let resumed = match from {
            WatchFrom::Revision(after) if after <= catalogue.revision() => {
                let position = history.position_after(after);
                position.map(|position| (after, position))
            }
            WatchFrom::Now | WatchFrom::Revision(_) => None,
        };
        let era = history.floor().era;
        let Some((after, position)) = resumed else {
            let first = Some(WatchItem::Reset(snapshot(&scope, catalogue, history)));
            return Self { scope, era, position: history.end(), first, resumed: None };
        };
        Self {
            era,
            first: Some(offline_since(&scope, after, history)),
            scope,
            position,
            resumed: Some(Resumed { after, until: history.end() }),
        }
    }

    /// The next item, or `None` while there is nothing to tell.
    pub fn poll(&mut self, catalogue: &Catalogue, history: &History) -> Option<WatchItem> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let era = history.floor().era;
        if era != self.era || !history.reaches(self.position) {
            self.era = era;
            self.position = history.end();
            self.resumed = None;
            return Some(WatchItem::Reset(snapshot(&self.scope, catalogue, history)));
        }
        if history.end() - self.position > BEHIND {
            return self.catch_up(history);
        }
        for (position, entry) in history.entries(self.position) {
            self.position = position + 1;
            if let Some(item) = self.item(position, entry) {
                return Some(item);
            }
        }
        None
    }

    fn catch_up(&mut self, history: &History) -> Option<WatchItem> {
        let mut skipped = Vec::new();
        let mut revision = None;
        for (position, entry) in history.entries(self.position) {
            self.position = position + 1;
            if let Some(WatchItem::Changes { revision: r, events }) = self.item(position, entry) {
                revision = Some(r);
                skipped.extend(events);
            }
        }
        let revision = revision?;
        Some(WatchItem::Changes { revision, events: compact(skipped) })
    }

    fn item(&self, position: u64, entry: &Entry) -> Option<WatchItem> {
        let (revision, events) = match entry {
            Entry::Commit(change) => {
                let mut events = Vec::new();
                for edit in &change.edits {
                    edit.events(&self.scope, &mut events);
                }
                (change.revision, events)
            }
            Entry::Health(revision, changes) => {
                let fresh = changes.iter().filter(|change| self.is_news(position, change));
                let events = fresh.filter_map(|change| change.event(&self.scope));
                (*revision, events.collect())
            }
        };
        (!events.is_empty()).then_some(WatchItem::Changes { revision, events })
    }

    /// Whether a judgement was not already told by the first item of a resumed
    /// watch, which shows the present for everything the watcher knows.
    fn is_news(&self, position: u64, change: &HealthChange) -> bool {
        self.resumed.as_ref().is_none_or(|resumed| {
            position >= resumed.until || change.presence.revision > resumed.after
        })
    }
}

/// The present as watchers were told it: what they are told next follows on it.
fn snapshot(scope: &Scope, catalogue: &Catalogue, history: &History) -> View {
    catalogue.snapshot(scope, |presence| Some(history.told(presence)))
}

/// The first item of a resumed watch: the health of every instance the watcher
/// knows and that is not online. Sent even where there is none, because it says
/// that all others are.
fn offline_since(scope: &Scope, after: Revision, history: &History) -> WatchItem {
    // What was written in an era before is known to everybody in this one.
    let newer = |p: &Presence| p.revision.era == after.era && p.revision > after;
    let known = history.told_offline().filter(|p| !newer(p));
    let offline = known.filter(|p| scope.has_instance(&p.id, &p.offers));
    let events: Vec<_> = offline
        .map(|presence| Event::Health {
            id: presence.id.clone(),
            epoch: presence.epoch,
            health: Health::Offline,
        })
        .collect();
    match events.is_empty() {
        true => WatchItem::Progress(after),
        false => WatchItem::Changes { revision: after, events },
    }
}
