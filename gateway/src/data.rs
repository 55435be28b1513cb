//! The data path: `GET|POST /:service/:path` to a Thrift call.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use portolan::call::{CallError, CallErrorKind};
use portolan::thrift::json::Json;
use portolan::{ErrorKind, ServiceName};
use serde_json::{Map, Value};

use crate::control::Plane;
use crate::dispatch::{DispatchError, Dispatched, Request};
use crate::{dispatch, forward, problem};

/// The original's text for what is not there.
const UNKNOWN: &str = "The service/method does not exist.";

type Pairs = Query<Vec<(String, String)>>;

pub(crate) async fn call(
    State(plane): State<Arc<Plane>>,
    method: Method,
    Path((service, path)): Path<(String, String)>,
    query: Result<Pairs, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(service) = ServiceName::parse(&service) else {
        return problem::text(StatusCode::NOT_FOUND, UNKNOWN);
    };
    let pairs;
    let argument = match method {
        Method::GET => {
            pairs = match from_query(query) {
                Ok(pairs) => pairs,
                Err(reason) => return problem::problem(StatusCode::BAD_REQUEST, "", &reason),
            };
            Some(Json::Value(&pairs))
        }
        _ if body.trim_ascii().is_empty() => None,
        _ => Some(Json::Text(&body)),
    };
    let request = Request {
        service: &service,
        path: &path,
        argument,
        headers: plane.forward.select(&headers),
        wait: forward::wait(&headers),
        style: forward::style(&headers),
    };
    let answer = plane.dispatcher.call(request).await;
    plane.metrics.call(outcome(&answer));
    match answer {
        Ok(Dispatched::Text(text)) => problem::text(StatusCode::OK, text),
        Ok(Dispatched::Json(json)) => problem::raw_json(StatusCode::OK, json),
        Ok(Dispatched::Exception(name, value)) => {
            problem::raw_json(StatusCode::INTERNAL_SERVER_ERROR, dispatch::thrown(&name, &value))
        }
        Err(error) => refuse(&error),
    }
}

/// Query arguments as a flat object of text; the IDL turns it into numbers.
fn from_query(query: Result<Pairs, QueryRejection>) -> Result<Value, String> {
    let Query(pairs) = query.map_err(|rejection| rejection.body_text())?;
    let mut object = Map::new();
    for (key, value) in pairs {
        if object.insert(key, Value::from(value)).is_some() {
            return Err("the query names a key twice".to_owned());
        }
    }
    Ok(Value::Object(object))
}

fn outcome(answer: &Result<Dispatched, DispatchError>) -> &'static str {
    match answer {
        Ok(Dispatched::Exception(..)) => "exception",
        Ok(Dispatched::Text(_) | Dispatched::Json(_)) => "ok",
        Err(DispatchError::Argument(_) | DispatchError::EmptyBody) => "bad argument",
        Err(DispatchError::Unknown) => "unknown",
        Err(DispatchError::NoInstance) => "no instance",
        Err(DispatchError::Call(_)) => "call failed",
        Err(DispatchError::Interface(_) | DispatchError::Registry(_)) => "registry failed",
    }
}

fn refuse(error: &DispatchError) -> Response {
    match error {
        DispatchError::Argument(error) => {
            problem::problem(StatusCode::BAD_REQUEST, &error.path, &error.reason)
        }
        DispatchError::Call(error) => failed(error),
        DispatchError::EmptyBody => problem::text(StatusCode::BAD_REQUEST, "Request body is empty"),
        DispatchError::Interface(reason) => {
            let reason = format!("the service's IDL cannot be used: {reason}");
            problem::problem(StatusCode::BAD_GATEWAY, "", &reason)
        }
        DispatchError::NoInstance => {
            let reason = "no healthy instance of the service is connected";
            problem::problem(StatusCode::SERVICE_UNAVAILABLE, "", reason)
        }
        DispatchError::Registry(error) => problem::registry(error),
        DispatchError::Unknown => problem::text(StatusCode::NOT_FOUND, UNKNOWN),
    }
}

/// The published table of call errors as HTTP statuses.
fn failed(error: &CallError) -> Response {
    let status = match error.kind() {
        CallErrorKind::NoInstance => StatusCode::SERVICE_UNAVAILABLE,
        CallErrorKind::Registry(ErrorKind::Overloaded) => StatusCode::TOO_MANY_REQUESTS,
        CallErrorKind::Registry(ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        CallErrorKind::Registry(ErrorKind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    problem::problem(status, "", error.message())
}
