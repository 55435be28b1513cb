//! Changes as a stream: a snapshot, then everything after it.

use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::Result;
use crate::identity::{InstanceId, ServiceName};
use crate::instance::{Cause, Health, Instance};
use crate::query::View;
use crate::revision::{Epoch, Revision};
use crate::service::ServiceRecord;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchFrom {
    /// With a [`Reset`](WatchItem::Reset) of the present.
    #[default]
    Now,
    /// After this revision, without a Reset if the history still has it. The
    /// first item then names the health of every matching instance that is not
    /// online; all others the watcher knows are.
    /// Requires [`Capability::Resume`](crate::Capability::Resume).
    Revision(Revision),
}

/// One step of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Replaces everything the watcher knows within its scope.
    Reset(View),
    /// One committed write, or the health changes of one judgement (which
    /// repeat the last revision: health has none of its own).
    Changes {
        /// The revision the watcher has reached.
        revision: Revision,
        /// What happened, in order, all of it at once.
        events: Vec<Event>,
    },
    /// Nothing changed up to this revision: the stream is alive.
    Progress(Revision),
}

impl WatchItem {
    /// The revision the watcher has reached with this item.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Reset(view) => view.revision,
            Self::Changes { revision, .. } | Self::Progress(revision) => *revision,
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The judgement about an instance changed.
    Health {
        /// The instance.
        id: InstanceId,
        /// Which life of it.
        epoch: Epoch,
        /// The new judgement.
        health: Health,
    },
    /// An instance went, or no longer offers anything within the scope.
    Remove {
        /// The instance.
        id: InstanceId,
        /// Which life of it.
        epoch: Epoch,
        /// Why.
        cause: Cause,
    },
    /// A service was declared or its declaration changed.
    Service(Arc<ServiceRecord>),
    /// A declaration went.
    ServiceRemoved {
        /// The service.
        name: ServiceName,
    },
    /// An instance came, or its record changed.
    Upsert(Instance),
}

/// A running watch.
///
/// Ends only after an `Err`, which is a permanent refusal; whatever can heal is
/// healed inside, by a Reset at worst. Dropping it releases everything.
pub struct WatchStream(Pin<Box<dyn Stream<Item = Result<WatchItem>> + Send>>);

impl WatchStream {
    /// Wraps a backend's stream.
    pub fn new(stream: impl Stream<Item = Result<WatchItem>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// The next item. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<WatchItem>> {
        poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchStream")
    }
}
