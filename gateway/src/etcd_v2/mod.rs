//! The face of an etcd v2 that hprose peers know: `/v2/keys/hprose-service/…`, over
//! any backend. A server that is written there is an instance; every instance that
//! an hprose client could call is listed there.
//!
//! Answers are those of etcd 3.4 under `--enable-v2`. Otherwise than there: what is
//! not an hprose server is refused, a key needs a ttl, and whoever goes, goes as
//! `expire`, which is the one action by which an hprose client forgets a server.

mod answer;
mod event;
mod face;
mod follow;
mod request;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::any;

pub(crate) use self::face::Face;
pub(crate) use self::follow::Following;
use self::request::{Parameters, Place};
use crate::control::Plane;

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct EtcdV2 {
    pub(crate) plane: Arc<Plane>,
    pub(crate) face: Arc<Face>,
}

/// The largest body: a value is a name, an address and some punctuation.
const MAX_BODY: usize = 64 * 1024;

pub(crate) fn router(state: EtcdV2) -> Router {
    Router::new()
        .route("/v2/keys/{*key}", any(keys))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn keys(
    State(state): State<EtcdV2>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = async {
        let place = Place::parse(uri.path())?;
        let parameters = Parameters::parse(query.as_deref(), &headers, &body)?;
        match method {
            Method::GET | Method::HEAD if parameters.flag("wait")? => {
                state.face.wait(&place, &parameters)
            }
            Method::GET | Method::HEAD => state.face.get(&place, &parameters),
            Method::PUT => write::put(&state, &place, &parameters).await,
            Method::DELETE => write::delete(&state, &place).await,
            _ => Ok(answer::not_allowed()),
        }
    };
    done.await.unwrap_or_else(|refusal| state.face.refuse(&refusal))
}
