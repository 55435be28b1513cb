//! `POST /register`: an owner, its services, and its first API key.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use portolan::access::{Access, Action, Credential};
use portolan::{ApiKey, Error, ErrorKind, KeyChange, Registration, RegistrationMode};
use serde_json::json;

use super::Plane;
use super::declaration::{self, Refusal};
use crate::problem;

pub(super) async fn register(State(plane): State<Arc<Plane>>, body: Bytes) -> Response {
    match declare(&plane, &body).await {
        Ok(key) => problem::json(
            StatusCode::OK,
            &json!({
                "Message": "Registered successfully. You're good to GO :D",
                "API-Key": key.expose(),
            }),
        ),
        Err(refused) => refused,
    }
}

async fn declare(plane: &Plane, body: &[u8]) -> Result<ApiKey, Response> {
    let object = declaration::parse(body).map_err(refuse)?;
    let owner = declaration::owner(&object).map_err(refuse)?;
    let services = declaration::services(&object, &plane.idls).map_err(refuse)?;
    let allowed = plane.access.authorize(&Credential::none(), &Action::Create(&owner)).await;
    allowed.map_err(|error| problem::registry(&error))?;

    let names: Vec<_> = services.iter().map(|spec| spec.name.clone()).collect();
    let key = ApiKey::generate_uuid();
    let registration = Registration::new(owner, RegistrationMode::Create, services);
    let registration = registration.with_keys(KeyChange::Add(key.hash()));
    plane.registry.register(registration).await.map_err(|error| taken(&error))?;
    // The key must open as soon as its owner has it.
    plane.access.refresh().await.map_err(|error| taken(&error))?;
    plane.dispatcher.declared(&names).await;
    Ok(key)
}

fn refuse(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Body(reason) => {
            tracing::debug!(%reason, "a registration was refused");
            let text = "Failed to parse request body. Invalid Format";
            problem::text(StatusCode::BAD_REQUEST, text)
        }
        Refusal::Services(reason) => {
            let text = format!("Failed to parse Services field: {reason}");
            problem::text(StatusCode::BAD_REQUEST, text)
        }
        Refusal::Field(field, reason) => problem::problem(StatusCode::BAD_REQUEST, &field, &reason),
    }
}

fn taken(error: &Error) -> Response {
    match error.kind() {
        ErrorKind::AlreadyExists if error.context("owner").is_some() => {
            problem::text(StatusCode::BAD_REQUEST, "Owner ID already exists")
        }
        ErrorKind::AlreadyExists => {
            let name = error.context("service").unwrap_or_default();
            let reason = format!("{name} is declared by another owner already");
            problem::problem(StatusCode::BAD_REQUEST, "Services", &reason)
        }
        ErrorKind::InvalidArgument => problem::registry(error),
        _ => {
            tracing::warn!(%error, "a registration failed");
            problem::text(StatusCode::INTERNAL_SERVER_ERROR, "Failed to register admin")
        }
    }
}
