//! How often a statement is tried that others got in the way of.

use std::time::Duration;

use registry_api::Error;
use registry_api::kernel::Backoff;

use crate::dialect::Fault;
use crate::session::Failed;

/// Deadlocks and failed serializations end by themselves, or not at all.
const MOST: u32 = 8;

/// A budget of tries.
#[derive(Debug)]
pub(crate) struct Tries {
    left: u32,
    backoff: Backoff,
}

impl Tries {
    pub(crate) fn new() -> Self {
        let (first, most) = (Duration::from_millis(2), Duration::from_millis(100));
        Self { left: MOST, backoff: Backoff::new(first, most, fastrand::u64(..)) }
    }

    /// Waits a little if it makes sense to try again; else the error it is.
    pub(crate) async fn again(&mut self, failed: Failed) -> Result<(), Error> {
        if !matches!(failed.fault, Fault::Conflict | Fault::Taken) || self.left == 0 {
            return Err(failed.error);
        }
        self.left -= 1;
        tokio::time::sleep(self.backoff.next_delay()).await;
        Ok(())
    }
}
