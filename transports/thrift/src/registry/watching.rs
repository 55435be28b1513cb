//! A watch on a registry that is elsewhere: polled, and opened again by the
//! kernel's rules when the connection or the other side was gone.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use registry_api::kernel::Follow;
use registry_api::{
    Capability, Error, ErrorKind, Info, Result, Scope, WatchFrom, WatchItem, WatchStream,
};

use super::error::corrupt;
use super::model::{Form, all_from_wire};
use super::record as wire;
use super::record::encode;
use super::remote::Remote;
use super::watches::MAX_WAIT;

pub(super) struct Watching {
    remote: Arc<Remote>,
    scope: Scope,
    follow: Follow,
    open: Option<Open>,
    /// What was polled and not yet read.
    items: VecDeque<WatchItem>,
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

impl Watching {
    pub(super) fn new(remote: Arc<Remote>, info: &Info, scope: Scope, from: WatchFrom) -> Self {
        let can_resume = info.capabilities.has(Capability::Resume);
        let follow = Follow::new(can_resume, RandomState::new().hash_one(0)).starting(from);
        Self { remote, scope, follow, open: None, items: VecDeque::new() }
    }

    /// Opens it once, so that a refusal is told at once, and makes a stream of it.
    pub(super) async fn open(mut self) -> Result<WatchStream> {
        self.reopen().await?;
        Ok(WatchStream::new(stream::unfold(Some(self), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Ok(item) => Some((Ok(item), Some(watching))),
                Err(refusal) => Some((Err(refusal), None)),
            }
        })))
    }

    async fn reopen(&mut self) -> Result<()> {
        let after = match self.follow.reopen() {
            WatchFrom::Now => None,
            WatchFrom::Revision(revision) => Some(revision.to_wire()),
        };
        let (caller, scope) = (self.remote.asker(), self.scope.to_wire());
        let arguments = wire::WatchArguments { caller, scope, after };
        let id = self.remote.ask("watch", &arguments).await?;
        self.open = Some(Open { remote: Arc::clone(&self.remote), id });
        Ok(())
    }

    async fn next(&mut self) -> Result<WatchItem> {
        loop {
            while let Some(item) = self.items.pop_front() {
                if let Some(item) = self.follow.pass(item) {
                    return Ok(item);
                }
            }
            let got = match &self.open {
                Some(open) => self.poll(open.id).await,
                None => self.reopen().await.map(|()| Vec::new()),
            };
            match got {
                Ok(items) => self.items.extend(items),
                Err(error) if heals(&error) => {
                    self.open = None;
                    let clock = self.remote.clock();
                    clock.sleep_until(clock.now() + self.follow.failed()).await;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    async fn poll(&self, watch: i64) -> Result<Vec<WatchItem>> {
        let arguments = wire::PollArguments {
            caller: self.remote.asker(),
            watch,
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

/// Whether another try can succeed. A watch that is not there any more was
/// forgotten, by a restart for example.
fn heals(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::Closed | ErrorKind::NotFound)
}
