//! A watch on a registry that is elsewhere, made whole: opened again by the
//! kernel's rules when the connection or the other side was gone.
//!
//! For the client side of a wire, which knows how to open a stream and nothing
//! about what a broken one means.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;

use crate::capability::{Capability, Info};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Follow;
use crate::time::Clock;
use crate::watch::{WatchFrom, WatchItem, WatchStream};

/// Opens streams that may break.
#[async_trait]
pub trait Opens: Send + Sync + 'static {
    /// A stream from there on. Its end, and errors that can heal, mean that the
    /// connection broke.
    async fn open(&self, from: WatchFrom) -> Result<WatchStream>;
}

struct Mended<O> {
    opens: O,
    clock: Arc<dyn Clock>,
    follow: Follow,
    stream: Option<WatchStream>,
}

/// A watch of broken streams, the first of which is opened now, so that a
/// refusal is told at once. Ends only after a permanent refusal.
pub async fn mended(
    opens: impl Opens,
    info: &Info,
    clock: Arc<dyn Clock>,
    from: WatchFrom,
) -> Result<WatchStream> {
    let can_resume = info.capabilities.has(Capability::Resume);
    let follow = Follow::new(can_resume, RandomState::new().hash_one(0)).starting(from);
    let mut mended = Mended { opens, clock, follow, stream: None };
    mended.reopen().await?;
    Ok(WatchStream::new(stream::unfold(Some(mended), |mended| async {
        let mut mended = mended?;
        match mended.next().await {
            Ok(item) => Some((Ok(item), Some(mended))),
            Err(refusal) => Some((Err(refusal), None)),
        }
    })))
}

impl<O: Opens> Mended<O> {
    async fn reopen(&mut self) -> Result<()> {
        let from = self.follow.reopen();
        self.stream = Some(self.opens.open(from).await?);
        Ok(())
    }

    async fn next(&mut self) -> Result<WatchItem> {
        loop {
            let got = match &mut self.stream {
                Some(stream) => stream.next().await.unwrap_or_else(|| Err(ended())),
                None => match self.reopen().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match got {
                Ok(item) => {
                    if let Some(item) = self.follow.pass(item) {
                        return Ok(item);
                    }
                }
                Err(error) if heals(&error) => {
                    self.stream = None;
                    self.clock.sleep_until(self.clock.now() + self.follow.failed()).await;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the watch ended")
}

/// Whether another try can succeed. A watch that is not there any more was
/// forgotten, by a restart for example.
fn heals(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::Closed | ErrorKind::NotFound)
}
