//! `PUT /update?ownerid=…` with the key in a header: replaces what an owner
//! declared.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portolan::access::{Access, Action, Credential};
use portolan::{Error, ErrorKind, Owner, Registration, RegistrationMode};
use serde::Deserialize;
use serde_json::json;

use super::declaration::{self, Refusal};
use super::{MAX_BODY, Plane};
use crate::problem;

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    ownerid: String,
}

/// The body is read only when the key has been checked.
pub(super) async fn update(
    State(plane): State<Arc<Plane>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let key = headers.get("apikey").and_then(|key| key.to_str().ok()).unwrap_or_default();
    // A query that cannot be understood names no owner.
    let owner = parameters.map(|Query(parameters)| parameters.ownerid).unwrap_or_default();
    match replace(&plane, &owner, key, body).await {
        Ok(()) => problem::json(
            StatusCode::OK,
            &json!({"Message": "Updated successfully. You're good to GO :D"}),
        ),
        Err(refused) => refused,
    }
}

async fn replace(plane: &Plane, id: &str, key: &str, body: Body) -> Result<(), Response> {
    let bad = |text: &'static str| problem::text(StatusCode::BAD_REQUEST, text);
    let owner = Owner::parse(id).map_err(|_| bad("Invalid owner ID"))?;
    match plane.access.keys(&owner).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(bad("Invalid owner ID")),
        Err(error) => return Err(failed(&error)),
    }
    let authorized = plane.access.authorize(&Credential::key(key), &Action::Update(&owner)).await;
    authorized.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => bad("Invalid API key"),
        _ => failed(&error),
    })?;

    let body = to_bytes(body, MAX_BODY).await;
    let body = body.map_err(|_| problem::text(StatusCode::PAYLOAD_TOO_LARGE, ""))?;
    if body.trim_ascii().is_empty() {
        return Err(bad("Request body is missing..."));
    }
    let object = declaration::parse(&body).map_err(refuse)?;
    let services = declaration::services(&object, &plane.idls).map_err(refuse)?;
    let names: Vec<_> = services.iter().map(|spec| spec.name.clone()).collect();
    let registration = Registration::new(owner, RegistrationMode::Replace, services);
    plane.registry.register(registration).await.map_err(|error| failed(&error))?;
    plane.access.refresh().await.map_err(|error| failed(&error))?;
    plane.dispatcher.declared(&names).await;
    Ok(())
}

fn refuse(refusal: Refusal) -> Response {
    let text = match refusal {
        Refusal::Body(reason) => format!("Failed to parse request body: {reason}"),
        Refusal::Services(reason) => format!("Failed to parse Services field: {reason}"),
        Refusal::Field(field, reason) => {
            return problem::problem(StatusCode::BAD_REQUEST, &field, &reason);
        }
    };
    problem::text(StatusCode::BAD_REQUEST, text)
}

fn failed(error: &Error) -> Response {
    match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::InvalidArgument => problem::registry(error),
        _ => {
            tracing::warn!(%error, "an update failed");
            problem::text(StatusCode::INTERNAL_SERVER_ERROR, "Failed to update admin")
        }
    }
}
