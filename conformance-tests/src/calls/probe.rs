//! The handler of the transport suite: does what the method says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use registry_api::ErrorKind;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use tokio::sync::{Notify, watch};

/// Answers `echo` with the payload, `stall` when it is let go, and so on; and
/// remembers what it saw.
#[derive(Debug, Default)]
pub struct Probe {
    /// How many calls of `count` and `stall` began.
    pub begun: AtomicUsize,
    /// How many of them were dropped before they ended.
    pub dropped: Arc<AtomicUsize>,
    /// The timeout of the last call.
    pub timeout: watch::Sender<Duration>,
    /// Told for each call of `stall` that begins.
    pub stalled: Notify,
    release: watch::Sender<bool>,
}

/// The errors the method `fail` gives, by the number in the payload.
pub(super) const KINDS: [CallErrorKind; 9] = [
    CallErrorKind::Cancelled,
    CallErrorKind::Framework,
    CallErrorKind::UnknownMethod,
    CallErrorKind::WrongInstance,
    CallErrorKind::Registry(ErrorKind::InvalidArgument),
    CallErrorKind::Registry(ErrorKind::Overloaded),
    CallErrorKind::Registry(ErrorKind::PermissionDenied),
    CallErrorKind::Registry(ErrorKind::Unauthenticated),
    CallErrorKind::Registry(ErrorKind::Unavailable),
];

impl Probe {
    /// Lets all calls of `stall` end, those that come too.
    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

/// Counts a call that is dropped half way.
struct Alive(Arc<AtomicUsize>, bool);

impl Drop for Alive {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Handler for Probe {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        self.timeout.send_replace(call.time_left());
        match call.method.as_str() {
            "count" => {
                self.begun.fetch_add(1, Ordering::SeqCst);
                Ok(Reply::new(call.payload))
            }
            "declared" => Err(CallError::application("Declared", call.payload)),
            "echo" => {
                let mut reply = Reply::new(call.payload);
                reply.headers = call.headers;
                Ok(reply)
            }
            "fail" => {
                let number = usize::from(call.payload.first().copied().unwrap_or_default());
                let kind = KINDS.get(number).copied().unwrap_or(CallErrorKind::Framework);
                Err(CallError::new(kind, "as it was asked to"))
            }
            "huge" => Ok(Reply::new(Bytes::from(vec![0; 4 << 20]))),
            // Without a word on standard error: it was asked to.
            "panic" => std::panic::resume_unwind(Box::new("asked to panic")),
            "stall" => {
                let mut alive = Alive(Arc::clone(&self.dropped), false);
                self.begun.fetch_add(1, Ordering::SeqCst);
                self.stalled.notify_one();
                // The sender is ours, so it cannot be gone.
                let _ = self.release.subscribe().wait_for(|released| *released).await;
                alive.1 = true;
                Ok(Reply::new(call.payload))
            }
            _ => Err(CallError::new(CallErrorKind::UnknownMethod, "unknown method")),
        }
    }
}
