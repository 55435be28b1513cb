//! `GET /api/v1/watch?service=NAME`: a watch as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use portolan::{Scope, ServiceName, WatchFrom, WatchItem, WatchStream};
use serde::Deserialize;

use super::Admin;
use crate::{problem, shape};

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    /// The service; everything where it is left out.
    service: Option<String>,
    /// The revision to resume after.
    from: Option<String>,
}

/// One `data:` line per object; the `id:` of an event is its revision, so a
/// browser that reconnects resumes by itself.
pub(super) async fn watch(
    State(admin): State<Arc<Admin>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = last_seen.or(parameters.from.as_deref());
    let parsed = parse(parameters.service.as_deref(), from);
    let opened = match parsed {
        Ok((scope, from)) => admin.registry.watch(&scope, from).await.map(|watch| (watch, scope)),
        Err(error) => Err(error),
    };
    match opened {
        Ok((watch, scope)) => {
            let mut draining = admin.draining.subscribe();
            // Neither fails while the gateway holds the sender.
            let drained = async move { drop(draining.wait_for(|draining| *draining).await) };
            Sse::new(events(watch, scope).take_until(drained)).into_response()
        }
        Err(error) => problem::registry(&error),
    }
}

fn parse(service: Option<&str>, from: Option<&str>) -> portolan::Result<(Scope, WatchFrom)> {
    let scope = match service {
        Some(name) => Scope::service(ServiceName::parse(name)?),
        None => Scope::All,
    };
    let from = match from {
        Some(revision) => WatchFrom::Revision(revision.parse()?),
        None => WatchFrom::Now,
    };
    Ok((scope, from))
}

/// Ends when the registry refuses to go on or the gateway drains; the client
/// reconnects.
fn events(
    watch: WatchStream,
    scope: Scope,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let items = watch.take_while(|item| std::future::ready(item.is_ok()));
    let items = items.filter_map(|item| std::future::ready(item.ok()));
    items.flat_map(move |item: WatchItem| {
        let id = item.revision().to_string();
        let lines = shape::watched(&item, &scope).into_iter();
        stream::iter(
            lines.map(move |line| Ok(Event::default().id(id.clone()).data(line.to_string()))),
        )
    })
}
