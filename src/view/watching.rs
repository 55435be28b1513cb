//! A watch that does not end: opened again by the kernel's rules, for as long as
//! somebody reads it.
//!
//! What it is not: a cache. The reader keeps the state.

use std::sync::Arc;

use registry_api::kernel::Follow;
use registry_api::{
    Capability, Clock, Error, ErrorKind, Registry, Scope, Timestamp, WatchItem, WatchStream,
};

pub(crate) struct Watching {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    follow: Follow,
    stream: Option<WatchStream>,
    rests_until: Timestamp,
}

impl Watching {
    pub(crate) fn new(registry: Arc<dyn Registry>, clock: Arc<dyn Clock>, scope: Scope) -> Self {
        let can_resume = registry.info().capabilities.has(Capability::Resume);
        let follow = Follow::new(can_resume, fastrand::u64(..));
        Self { registry, clock, scope, follow, stream: None, rests_until: Timestamp::ZERO }
    }

    /// The next item, or why there is none yet: an error is no end, also not a
    /// refusal, since what is refused now may be allowed later. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<WatchItem, Error> {
        loop {
            if self.stream.is_none() {
                self.clock.sleep_until(self.rests_until).await;
                // Should opening be given up half-way, it is not begun at once again.
                self.rests_until = self.clock.now() + self.follow.failed();
                let from = self.follow.reopen();
                self.stream = Some(self.registry.watch(&self.scope, from).await?);
            }
            while let Some(stream) = &mut self.stream {
                match stream.next().await {
                    Some(Ok(item)) => {
                        if let Some(item) = self.follow.pass(item) {
                            return Ok(item);
                        }
                    }
                    Some(Err(error)) => {
                        self.stream = None;
                        return Err(error);
                    }
                    None => {
                        self.stream = None;
                        return Err(Error::new(ErrorKind::Unavailable, "the watch ended"));
                    }
                }
            }
        }
    }
}
