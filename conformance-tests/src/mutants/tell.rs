//! Defects of watches.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use registry_api::{
    Cause, Event, Registry, Result, Revision, Scope, WatchFrom, WatchItem, WatchStream,
};
use tokio::sync::mpsc;

use super::flawed::Defect;

/// Changes the events of every item.
#[derive(Debug)]
struct Bends(fn(Vec<Event>) -> Vec<Event>);

#[async_trait]
impl Defect for Bends {
    async fn watch(
        &self,
        inner: &Arc<dyn Registry>,
        scope: &Scope,
        from: WatchFrom,
    ) -> Result<WatchStream> {
        let bend = self.0;
        let bend = move |item| match item {
            WatchItem::Changes { revision, events } => {
                WatchItem::Changes { revision, events: bend(events) }
            }
            other => other,
        };
        let items = inner.watch(scope, from).await?;
        Ok(WatchStream::new(items.map(move |item| item.map(bend))))
    }
}

pub(super) fn drops_last() -> Arc<dyn Defect> {
    Arc::new(Bends(|mut events| {
        if events.len() > 1 {
            events.pop();
        }
        events
    }))
}

pub(super) fn wrong_cause() -> Arc<dyn Defect> {
    Arc::new(Bends(|mut events| {
        for event in &mut events {
            if let Event::Remove { cause, .. } = event {
                *cause = Cause::Deregistered;
            }
        }
        events
    }))
}

/// Lists first and watches later.
#[derive(Debug)]
struct Gap;

#[async_trait]
impl Defect for Gap {
    async fn watch(
        &self,
        inner: &Arc<dyn Registry>,
        scope: &Scope,
        from: WatchFrom,
    ) -> Result<WatchStream> {
        let mut listed = inner.watch(scope, from).await?;
        let Some(first) = listed.next().await else {
            return Ok(listed);
        };
        let (inner, scope) = (Arc::clone(inner), scope.clone());
        let later = stream::once(async move {
            let mut watch = inner.watch(&scope, WatchFrom::Now).await?;
            watch.next().await.transpose()?;
            Ok(watch)
        });
        let later = later.flat_map(|opened: Result<WatchStream>| match opened {
            Ok(watch) => watch.boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        });
        Ok(WatchStream::new(stream::once(async { first }).chain(later)))
    }
}

pub(super) fn gap() -> Arc<dyn Defect> {
    Arc::new(Gap)
}

/// Resumes one change too early.
#[derive(Debug)]
struct Repeats;

#[async_trait]
impl Defect for Repeats {
    async fn watch(
        &self,
        inner: &Arc<dyn Registry>,
        scope: &Scope,
        from: WatchFrom,
    ) -> Result<WatchStream> {
        let earlier =
            |revision: Revision| Revision { number: revision.number.saturating_sub(1), ..revision };
        let from = match from {
            WatchFrom::Now => WatchFrom::Now,
            WatchFrom::Revision(revision) => WatchFrom::Revision(earlier(revision)),
        };
        inner.watch(scope, from).await
    }
}

pub(super) fn repeats() -> Arc<dyn Defect> {
    Arc::new(Repeats)
}

/// Reads ahead without a limit.
#[derive(Debug)]
struct Unbounded;

#[async_trait]
impl Defect for Unbounded {
    async fn watch(
        &self,
        inner: &Arc<dyn Registry>,
        scope: &Scope,
        from: WatchFrom,
    ) -> Result<WatchStream> {
        let mut items = inner.watch(scope, from).await?;
        let (queue, kept) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(item) = items.next().await {
                if queue.send(item).is_err() {
                    return;
                }
            }
        });
        let next = |mut kept: mpsc::UnboundedReceiver<_>| async move {
            kept.recv().await.map(|item| (item, kept))
        };
        Ok(WatchStream::new(stream::unfold(kept, next)))
    }
}

pub(super) fn unbounded() -> Arc<dyn Defect> {
    Arc::new(Unbounded)
}

/// Ends a watch as soon as there is nothing new: a closed connection, taken for
/// the end of the data.
#[derive(Debug)]
struct EndsSilently;

#[async_trait]
impl Defect for EndsSilently {
    async fn watch(
        &self,
        inner: &Arc<dyn Registry>,
        scope: &Scope,
        from: WatchFrom,
    ) -> Result<WatchStream> {
        let items = inner.watch(scope, from).await?;
        let alive = |item: &Result<WatchItem>| !matches!(item, Ok(WatchItem::Progress(_)));
        let items = items.take_while(move |item| std::future::ready(alive(item)));
        Ok(WatchStream::new(items))
    }
}

pub(super) fn ends_silently() -> Arc<dyn Defect> {
    Arc::new(EndsSilently)
}
