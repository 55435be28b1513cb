//! A watch over a connection that breaks: resumes where it was, resets where it
//! must, and looks unbroken from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use super::backoff::Backoff;
use crate::identity::InstanceId;
use crate::instance::Health;
use crate::revision::{Epoch, Revision};
use crate::watch::{Event, WatchFrom, WatchItem};

/// Turns the items of one broken stream after the other into those of one
/// stream. Sans-IO: the caller opens streams and waits.
///
/// It remembers a revision and who is offline, not the state: that is the
/// reader's.
#[derive(Debug)]
pub struct Follow {
    revision: Option<Revision>,
    offline: BTreeMap<InstanceId, Epoch>,
    can_resume: bool,
    resuming: bool,
    backoff: Backoff,
}

impl Follow {
    /// A watch that has not begun. `can_resume` is whether the registry claims
    /// [`Capability::Resume`](crate::Capability::Resume).
    pub fn new(can_resume: bool, seed: u64) -> Self {
        Self {
            revision: None,
            offline: BTreeMap::new(),
            can_resume,
            resuming: false,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(2), seed),
        }
    }

    /// Begins where the reader wants to, on the first opening only.
    #[must_use]
    pub fn starting(mut self, from: WatchFrom) -> Self {
        if let WatchFrom::Revision(revision) = from {
            self.revision = Some(revision);
        }
        self
    }

    /// Where the stream that is opened next is to begin.
    pub fn reopen(&mut self) -> WatchFrom {
        match self.revision {
            Some(revision) if self.can_resume => {
                self.resuming = true;
                WatchFrom::Revision(revision)
            }
            Some(_) | None => WatchFrom::Now,
        }
    }

    /// The stream ended or could not be opened: how long to wait.
    pub fn failed(&mut self) -> Duration {
        self.backoff.next_delay()
    }

    /// Passes an item on, or drops one that is older than what was passed (V8).
    pub fn pass(&mut self, item: WatchItem) -> Option<WatchItem> {
        self.backoff.reset();
        let resumed = std::mem::take(&mut self.resuming);
        let older = self.revision.is_some_and(|known| item.revision() < known);
        let item = match item {
            WatchItem::Reset(view) => {
                let offline = view.instances.iter().filter(|i| i.health == Health::Offline);
                self.offline = offline.map(|i| (i.id.clone(), i.epoch)).collect();
                WatchItem::Reset(view)
            }
            _ if older => return None,
            item if resumed => self.complete(item),
            WatchItem::Changes { revision, events } => {
                events.iter().for_each(|event| self.note(event));
                WatchItem::Changes { revision, events }
            }
            WatchItem::Progress(revision) => WatchItem::Progress(revision),
        };
        self.revision = Some(item.revision());
        Some(item)
    }

    /// The first item of a resumed stream names everybody who is not online. The
    /// reader is told what that means: who is back, and who went.
    fn complete(&mut self, item: WatchItem) -> WatchItem {
        let revision = item.revision();
        let listed = match item {
            WatchItem::Changes { events, .. } => events,
            WatchItem::Reset(_) | WatchItem::Progress(_) => Vec::new(),
        };
        let is_listed = |id: &InstanceId| {
            let of = |e: &Event| matches!(e, Event::Health { id: listed, .. } if listed == id);
            listed.iter().any(of)
        };
        let back = self.offline.iter().filter(|(id, _)| !is_listed(id));
        let back = back.map(|(id, epoch)| Event::Health {
            id: id.clone(),
            epoch: *epoch,
            health: Health::Online,
        });
        let mut events: Vec<_> = back.collect();
        events.extend(listed.into_iter().filter(|event| !self.knows(event)));
        events.iter().for_each(|event| self.note(event));
        match events.is_empty() {
            true => WatchItem::Progress(revision),
            false => WatchItem::Changes { revision, events },
        }
    }

    fn knows(&self, event: &Event) -> bool {
        match event {
            Event::Health { id, epoch, .. } => self.offline.get(id) == Some(epoch),
            _ => false,
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Health { id, epoch, health: Health::Offline } => {
                self.offline.insert(id.clone(), *epoch);
            }
            Event::Health { id, .. } | Event::Remove { id, .. } => {
                self.offline.remove(id);
            }
            Event::Upsert(instance) if instance.health == Health::Offline => {
                self.offline.insert(instance.id.clone(), instance.epoch);
            }
            Event::Upsert(instance) => {
                self.offline.remove(&instance.id);
            }
            Event::Service(_) | Event::ServiceRemoved { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revision::Era;

    #[test]
    fn a_resumed_stream_tells_who_came_back_and_drops_what_is_old() {
        let revision = |number| Revision { era: Era(1), number };
        let id = InstanceId::parse("a").unwrap();
        let health = |health| Event::Health { id: id.clone(), epoch: Epoch(1), health };
        let changes =
            |number, event| WatchItem::Changes { revision: revision(number), events: vec![event] };
        let mut follow = Follow::new(true, 1).starting(WatchFrom::Revision(revision(4)));
        assert_eq!(follow.reopen(), WatchFrom::Revision(revision(4)));
        let offline = changes(4, health(Health::Offline));
        assert_eq!(follow.pass(offline.clone()), Some(offline));

        follow.reopen();
        let back = changes(4, health(Health::Online));
        assert_eq!(follow.pass(WatchItem::Progress(revision(4))), Some(back));
        assert_eq!(follow.pass(WatchItem::Progress(revision(3))), None);
    }
}
