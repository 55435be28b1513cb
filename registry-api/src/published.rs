//! Watches of a state that a process holds and replaces.
//!
//! For backends whose watchers read a [`State`] in this process: the reference
//! itself, or a copy that follows a store.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use crate::error::{Error, Result};
use crate::kernel::{Cursor, Hub, State, Ticket};
use crate::query::Scope;
use crate::time::{Clock, Timestamp};
use crate::watch::{WatchFrom, WatchItem, WatchStream};

/// A state that is replaced as the registry changes.
///
/// Whoever replaces it wakes [`hub`](Self::hub) afterwards.
pub trait Published: Debug + Send + Sync + 'static {
    /// The state as it is now.
    fn state(&self) -> Arc<State>;

    /// Who waits for another one.
    fn hub(&self) -> &Arc<Hub>;

    /// What a watcher waits by.
    fn clock(&self) -> &Arc<dyn Clock>;

    /// When the state was last known to be that of the registry. A state that
    /// *is* the registry is so now.
    fn heard(&self) -> Timestamp {
        self.clock().now()
    }

    /// Why nothing will ever be heard of the registry again, if that is so. Whoever
    /// finds out wakes [`hub`](Self::hub) as well.
    fn refusal(&self) -> Option<Error> {
        None
    }

    /// A watch of `scope`. It reports progress every `interval`, as long as the
    /// registry is heard of.
    fn follow(self: Arc<Self>, scope: &Scope, from: WatchFrom, interval: Duration) -> WatchStream
    where
        Self: Sized,
    {
        // The ticket comes first: what changes after the snapshot wakes it.
        let ticket = self.hub().join(scope);
        let cursor = self.state().cursor(scope.clone(), from);
        WatchStream::new(Following::new(Watcher { source: self, cursor, ticket, interval }))
    }
}

/// A running watch: a place in the history, and a place in the hub.
struct Watcher<P> {
    source: Arc<P>,
    cursor: Cursor,
    ticket: Ticket,
    interval: Duration,
}

impl<P: Published> Watcher<P> {
    async fn next(&mut self) -> Result<WatchItem> {
        let mut silent_until = self.source.clock().now() + self.interval;
        loop {
            let state = self.source.state();
            if let Some(item) = state.poll(&mut self.cursor) {
                return Ok(item);
            }
            if let Some(refusal) = self.source.refusal() {
                return Err(refusal);
            }
            let revision = state.catalogue().revision();
            drop(state); // A waiting watcher must not keep an old state alive.
            if self.news_before(silent_until).await {
                continue;
            }
            let heard = self.source.heard() + self.interval;
            if heard >= silent_until {
                return Ok(WatchItem::Progress(revision));
            }
            // Nothing is known of the registry: to say that all is well would be a lie.
            silent_until = self.source.clock().now() + self.interval / 4;
        }
    }

    /// Waits for news until `deadline`; whether there is some.
    async fn news_before(&self, deadline: Timestamp) -> bool {
        let clock = Arc::clone(self.source.clock());
        let mut sleep = clock.sleep_until(deadline);
        poll_fn(|cx| {
            if self.ticket.poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            sleep.as_mut().poll(cx).map(|()| false)
        })
        .await
    }
}

type Next<P> = Pin<Box<dyn Future<Output = (Result<WatchItem>, Watcher<P>)> + Send>>;

/// The items of a watcher, one after the other, until a refusal.
struct Following<P>(Option<Next<P>>);

impl<P: Published> Following<P> {
    fn new(watcher: Watcher<P>) -> Self {
        Self(Some(Self::after(watcher)))
    }

    fn after(mut watcher: Watcher<P>) -> Next<P> {
        Box::pin(async move {
            let item = watcher.next().await;
            (item, watcher)
        })
    }
}

impl<P: Published> Stream for Following<P> {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.0 else {
            return Poll::Ready(None);
        };
        next.as_mut().poll(cx).map(|(item, watcher)| {
            self.0 = item.is_ok().then(|| Self::after(watcher));
            Some(item)
        })
    }
}
