//! `POST /health` and `POST /disconnect`: a server beats, and leaves.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portolan::access::{Access, Action, Credential};
use portolan::{Beat, BeatOutcome, ErrorKind, InstanceId, InstanceRef, RegistryExt};
use serde_json::json;

use super::{Known, Plane, bind, invalid_request, unauthorized};
use crate::{json, problem};

const FAILED: &str = "Unable to process health update request.";
const FIELDS: [&str; 2] = ["ApiKey", "ServerID"];

pub(super) async fn health(
    State(plane): State<Arc<Plane>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (id, known) = match sender(&plane, &headers, &body).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let outcome = match beat(&plane, &id, &known).await {
        // This process may know an older life than another gateway let in.
        Ok(BeatOutcome::Superseded | BeatOutcome::Unknown) => {
            plane.known.invalidate(&id).await;
            match plane.instance(&id).await {
                Ok(known) => beat(&plane, &id, &known).await,
                Err(error) => Err(error),
            }
        }
        outcome => outcome,
    };
    match outcome {
        Ok(BeatOutcome::Renewed | BeatOutcome::Revived) => {
            plane.metrics.beat("ok");
            problem::json(
                StatusCode::OK,
                &json!({"Status": "ok", "Message": "Successfully updated server health."}),
            )
        }
        _ => failed(&plane),
    }
}

pub(super) async fn disconnect(
    State(plane): State<Arc<Plane>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (id, known) = match sender(&plane, &headers, &body).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let epoch = known.epoch;
    let left = plane.registry.disconnect(&[InstanceRef { id: id.clone(), epoch }]).await;
    plane.known.invalidate(&id).await;
    match left {
        Ok(()) => problem::json(
            StatusCode::OK,
            &json!({"Status": "ok", "Message": "Successfully disconnected server from gateway."}),
        ),
        Err(error) => problem::registry(&error),
    }
}

/// The instance a request is about, if its key belongs to the owner of all the
/// instance's services. A key nobody has learns nothing about ids.
async fn sender(
    plane: &Plane,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(InstanceId, Arc<Known>), Response> {
    let object = bind(headers, body, &FIELDS).ok_or_else(invalid_request)?;
    let [key, id] = FIELDS.map(|field| json::text(&object, field).unwrap_or_default());
    let known_key = plane.access.authorize(&Credential::key(key), &Action::Read).await;
    known_key.map_err(|error| unauthorized(&error, FAILED))?;
    let id = InstanceId::parse(id).map_err(|_| failed(plane))?;
    let known = match plane.instance(&id).await {
        Ok(known) => known,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(failed(plane)),
        Err(error) => return Err(unauthorized(&error, FAILED)),
    };
    let allowed = plane.may_serve(key, &known.services).await;
    allowed.map_err(|error| unauthorized(&error, FAILED))?;
    Ok((id, known))
}

async fn beat(plane: &Plane, id: &InstanceId, known: &Known) -> portolan::Result<BeatOutcome> {
    let beat = Beat { id: id.clone(), epoch: known.epoch, token: known.token.clone() };
    plane.registry.heartbeat_one(beat).await
}

fn failed(plane: &Plane) -> Response {
    plane.metrics.beat("unknown");
    problem::text(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
}
