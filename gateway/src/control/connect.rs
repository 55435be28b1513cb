//! `POST /connect`: a server of a declared service joins.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portolan::{
    Address, InstanceId, InstanceSpec, Lease, Metadata, Offer, RegistryExt, ServiceName,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Known, Plane, bind, invalid_request, unauthorized};
use crate::{json, problem};

const FAILED: &str = "Unable to connect server.";

pub(super) async fn connect(
    State(plane): State<Arc<Plane>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = ["ApiKey", "ServiceName", "ServerAddress", "ServerPort"];
    let Some(object) = bind(&headers, &body, &fields) else {
        return invalid_request();
    };
    let [key, service, host, port] = fields.map(|f| json::text(&object, f).unwrap_or_default());
    let Ok(service) = ServiceName::parse(service) else {
        return invalid_request();
    };
    if let Err(error) = plane.may_serve(key, std::slice::from_ref(&service)).await {
        return unauthorized(&error, FAILED);
    }
    let address = match address(&plane, host, port) {
        Ok(address) => address,
        Err(reason) => return refused(&reason),
    };
    let metadata = match metadata(&object) {
        Ok(metadata) => metadata,
        Err(reason) => return refused(&reason),
    };
    let offer = Offer::new(service, address).with_metadata(metadata);
    match join(&plane, &offer).await {
        Ok(lease) => problem::json(
            StatusCode::OK,
            &json!({
                "Status": "ok",
                "Message": "Successfully connected server to gateway.",
                "ServerID": lease.id,
            }),
        ),
        Err(error) => {
            tracing::warn!(%error, service = %offer.service, "an instance could not connect");
            problem::text(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
        }
    }
}

/// The address as it is stored: canonical, and one the policy lets be called.
fn address(plane: &Plane, host: &str, port: &str) -> Result<Address, String> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
    let number = number.ok_or("ServerPort must be from 1 to 65535")?;
    let host = plane.policy.check_host(host.trim(), number);
    let host = host.map_err(|refusal| format!("ServerAddress {refusal}"))?;
    Address::host("thrift", &host, number).map_err(|e| format!("ServerAddress {}", e.message()))
}

/// What the server says of itself: an extension of ours.
fn metadata(object: &Map<String, Value>) -> Result<Metadata, String> {
    let pairs = match json::field(object, "Metadata") {
        None | Some(Value::Null) => return Ok(Metadata::default()),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return Err("Metadata must be an object of texts".to_owned()),
    };
    let text = |(key, value): (&String, &Value)| {
        let value = value.as_str().ok_or("Metadata must be an object of texts")?;
        Ok::<_, String>((key.clone(), value.to_owned()))
    };
    let pairs = pairs.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Metadata::new(pairs).map_err(|error| format!("Metadata {}", error.message()))
}

/// Each connect is a new server, as the guide has it: nothing is merged by address.
async fn join(plane: &Plane, offer: &Offer) -> portolan::Result<Lease> {
    let service = &offer.service;
    let id = InstanceId::parse(&Uuid::new_v4().to_string())?;
    let spec = InstanceSpec::new(id, [offer.clone()]);
    let lease = plane.registry.connect_one(spec.with_terms(plane.terms)).await?;
    let known =
        Known { epoch: lease.epoch, token: lease.token.clone(), services: vec![service.clone()] };
    plane.known.insert(lease.id.clone(), Arc::new(known)).await;
    plane.dispatcher.declared([service]).await;
    plane.dispatcher.caught_up(service, lease.revision).await;
    Ok(lease)
}

/// The guide's text for an address, and beside it the reason.
fn refused(reason: &str) -> Response {
    problem::json(
        StatusCode::BAD_REQUEST,
        &json!({
            "Status": "failed",
            "Message": "Server address is invalid.",
            "ServerID": "",
            "Reason": reason,
        }),
    )
}
