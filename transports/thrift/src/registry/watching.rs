//! A watch on a registry that is elsewhere: opened there, and polled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use registry_api::{Opens, Result, Scope, WatchFrom, WatchItem, WatchStream};

use super::error::corrupt;
use super::model::{Form, all_from_wire};
use super::record as wire;
use super::record::encode;
use super::remote::Remote;
use super::watches::MAX_WAIT;

/// Opens watches of a scope at the other side.
pub(super) struct Watching {
    pub(super) remote: Arc<Remote>,
    pub(super) scope: Scope,
}

/// A watch at the other side; let go when dropped.
struct Open {
    remote: Arc<Remote>,
    id: i64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.remote.unwatch(self.id);
    }
}

/// On top of the time a poll waits for news.
const PATIENCE: Duration = Duration::from_secs(6);

#[async_trait]
impl Opens for Watching {
    async fn open(&self, from: WatchFrom) -> Result<WatchStream> {
        let after = match from {
            WatchFrom::Now => None,
            WatchFrom::Revision(revision) => Some(revision.to_wire()),
        };
        let (caller, scope) = (self.remote.asker(), self.scope.to_wire());
        let arguments = wire::WatchArguments { caller, scope, after };
        let id = self.remote.ask("watch", &arguments).await?;
        let open = Open { remote: Arc::clone(&self.remote), id };
        // What was polled and not yet read waits with the watch.
        let state = (open, VecDeque::new());
        Ok(WatchStream::new(stream::unfold(state, |(open, mut items)| async {
            let item = open.next(&mut items).await;
            Some((item, (open, items)))
        })))
    }
}

impl Open {
    async fn next(&self, items: &mut VecDeque<WatchItem>) -> Result<WatchItem> {
        loop {
            if let Some(item) = items.pop_front() {
                return Ok(item);
            }
            items.extend(self.poll().await?);
        }
    }

    async fn poll(&self) -> Result<Vec<WatchItem>> {
        let arguments = wire::PollArguments {
            caller: self.remote.asker(),
            watch: self.id,
            wait_ms: i32::try_from(MAX_WAIT.as_millis()).unwrap_or(i32::MAX),
        };
        let call = self.remote.call("poll", encode(&arguments)).with_timeout(MAX_WAIT + PATIENCE);
        let polled: wire::Polled = self.remote.send(call).await?;
        if let Some(error) = polled.error {
            // What came before it is read again: the watch is opened anew.
            return Err(Form::from_wire(error)?);
        }
        all_from_wire(polled.items).map_err(corrupt)
    }
}
