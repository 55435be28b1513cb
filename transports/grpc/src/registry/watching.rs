//! A watch that somebody reads from elsewhere: as long as they may, and no faster
//! than they do.

use std::time::Duration;

use registry_api as api;
use registry_api::{WatchItem, WatchStream};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Streaming;

use super::server::Face;
use super::who::Who;
use crate::v1;

pub(super) struct Watching {
    face: Face,
    who: Who,
    stream: WatchStream,
    said: Option<Streaming<v1::WatchRequest>>,
    pace: Pace,
    looks: Interval,
}

/// How much may be sent. What waits beyond it is compacted where it comes from,
/// which no buffer on the way could do.
struct Pace {
    bounded: bool,
    room: i64,
}

/// How often a key is asked about again while a watch is open (R10: 5 s).
const LOOK_AGAIN: Duration = Duration::from_secs(4);

/// What an item counts.
pub(super) fn cost(item: &WatchItem) -> u32 {
    match item {
        WatchItem::Changes { events, .. } => u32::try_from(events.len().max(1)).unwrap_or(u32::MAX),
        WatchItem::Reset(_) | WatchItem::Progress(_) => 1,
    }
}

impl Watching {
    pub(super) fn new(
        face: Face,
        who: Who,
        stream: WatchStream,
        said: Streaming<v1::WatchRequest>,
        window: i64,
    ) -> Self {
        let mut looks = interval(LOOK_AGAIN);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset(); // It was asked a moment ago.
        let pace = Pace { bounded: window > 0, room: window };
        Self { face, who, stream, said: Some(said), pace, looks }
    }

    pub(super) async fn next(&mut self) -> Option<api::Result<WatchItem>> {
        loop {
            tokio::select! {
                biased;
                _ = self.looks.tick() => {
                    if let Err(refused) = may_go_on(&self.face, &self.who).await {
                        return Some(Err(refused));
                    }
                }
                // A reader who says nothing more is told what there is room for.
                said = said(&mut self.said) => match said {
                    Some(said) => self.pace.room += i64::from(said.read),
                    None => self.said = None,
                },
                item = self.stream.next(), if self.pace.has_room() => {
                    if let Some(Ok(item)) = &item {
                        self.pace.room -= i64::from(cost(item));
                    }
                    return item;
                }
            }
        }
    }
}

/// Whether the key still is one. Where nobody can tell, what was allowed goes on.
async fn may_go_on(face: &Face, who: &Who) -> api::Result<()> {
    match face.asker(who)?.may_read().await {
        Err(refused) if !refused.is_retryable() => Err(refused),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Pace {
    fn has_room(&self) -> bool {
        !self.bounded || self.room > 0
    }
}

/// What the reader says next; `None` once it says nothing more.
async fn said(from: &mut Option<Streaming<v1::WatchRequest>>) -> Option<v1::WatchRequest> {
    match from {
        Some(from) => from.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
}
