//! A watch that does not end: opened again by the kernel's rules, for as long as
//! somebody reads it.
//!
//! What it is not: a cache. The reader keeps the state.

use std::sync::Arc;

use registry_api::kernel::Follow;
use registry_api::{Capability, Clock, Registry, Scope, WatchItem, WatchStream};

pub(crate) struct Watching {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    follow: Follow,
    stream: Option<WatchStream>,
}

impl Watching {
    pub(crate) fn new(registry: Arc<dyn Registry>, clock: Arc<dyn Clock>, scope: Scope) -> Self {
        let can_resume = registry.info().capabilities.has(Capability::Resume);
        let follow = Follow::new(can_resume, fastrand::u64(..));
        Self { registry, clock, scope, follow, stream: None }
    }

    /// The next item. Also a refused watch is tried again: what is refused now
    /// may be allowed later. Cancel-safe.
    pub(crate) async fn next(&mut self) -> WatchItem {
        loop {
            if self.stream.is_none() {
                let from = self.follow.reopen();
                self.stream = self.registry.watch(&self.scope, from).await.ok();
            }
            while let Some(stream) = &mut self.stream {
                match stream.next().await {
                    Some(Ok(item)) => {
                        if let Some(item) = self.follow.pass(item) {
                            return item;
                        }
                    }
                    Some(Err(_)) | None => self.stream = None,
                }
            }
            self.clock.sleep_until(self.clock.now() + self.follow.failed()).await;
        }
    }
}
