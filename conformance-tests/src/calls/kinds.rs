//! Outcomes, headers and versions: the same on every wire.

use std::sync::Arc;

use bytes::Bytes;
use registry_api::call::{CallErrorKind, Peer};
use registry_api::{Address, ErrorKind, ServiceName};
use tokio::time::timeout;

use super::call_cases;
use super::cx::{CallCtx, PATIENCE, check_kind};
use super::probe::KINDS;
use crate::failure::{Failure, check_eq};

call_cases! { "kinds":
    "C2" every_kind_of_failure_arrives_as_it_was_given
    "C2" a_declared_error_brings_its_body
    "C2" a_handler_that_panics_fails_its_own_call
    "C2" another_service_at_the_address_is_told_apart [Headers]
    "C7" nobody_there_is_told_at_once
    "C9" headers_go_there_and_come_back [Headers]
    "C10" older_and_newer_peers_get_their_answers [Link]
}

async fn every_kind_of_failure_arrives_as_it_was_given(cx: &CallCtx) -> Result<(), Failure> {
    for (number, kind) in KINDS.into_iter().enumerate() {
        let outcome = cx.call(cx.to("fail", vec![number as u8])).await;
        check_kind(&outcome, kind, "the kind a handler gave")?;
    }
    let unknown = cx.call(cx.to("nope", "")).await;
    check_kind(&unknown, CallErrorKind::UnknownMethod, "a method nobody has")?;
    cx.answers().await
}

/// On some wires a declared error is part of the reply, whose reader tells it
/// apart by its definition; on the others it is an error of its own.
async fn a_declared_error_brings_its_body(cx: &CallCtx) -> Result<(), Failure> {
    let body = Bytes::from_static(b"\x0c\x00\x01\x00\x00");
    match cx.call(cx.to("declared", body.clone())).await {
        Ok(reply) => check_eq(&reply.payload, &body, "the body in the reply"),
        Err(error) if error.kind() == CallErrorKind::Application => {
            check_eq(error.body(), &body, "the body of the error")
        }
        Err(error) => Err(Failure::new(format!("another error arrived: {error:?}"))),
    }
}

async fn a_handler_that_panics_fails_its_own_call(cx: &CallCtx) -> Result<(), Failure> {
    let outcome = cx.call(cx.to("panic", "")).await;
    check_kind(&outcome, CallErrorKind::Framework, "a handler that panicked")?;
    cx.answers().await
}

/// The service that is meant travels beside the call, with its headers. The
/// method exists: nothing else tells that the address has passed to another.
async fn another_service_at_the_address_is_told_apart(cx: &CallCtx) -> Result<(), Failure> {
    let mut call = cx.to("echo", "hello");
    call.service = ServiceName::parse("Elsewhere").map_err(Failure::from)?;
    let outcome = cx.call(call).await;
    check_kind(&outcome, CallErrorKind::WrongInstance, "a call for another service")?;
    cx.answers().await
}

async fn nobody_there_is_told_at_once(cx: &CallCtx) -> Result<(), Failure> {
    cx.answers().await?;
    cx.host().close().await;
    let outcome = timeout(PATIENCE, cx.call(cx.to("echo", "")));
    let outcome = outcome.await.map_err(|_| Failure::new("waits where nobody is"))?;
    check_kind(&outcome, ErrorKind::Unavailable.into(), "an instance that is gone")?;
    let nowhere = Address::parse("thrift://127.0.0.1:1")?;
    let caller = Arc::clone(&cx.world().caller());
    let outcome = timeout(PATIENCE, caller.call(Peer::at(&nowhere), cx.to("echo", "")));
    let outcome = outcome.await.map_err(|_| Failure::new("waits where nobody ever was"))?;
    check_kind(&outcome, ErrorKind::Unavailable.into(), "an address where nobody listens")
}

async fn headers_go_there_and_come_back(cx: &CallCtx) -> Result<(), Failure> {
    let call = cx
        .to("echo", "x")
        .with_header("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .with_header("rpc-persist-user-id", "7")
        .with_header("x-tt-logid", "l")
        .with_header("empty", "")
        .with_header("text", "ü \"quoted\"");
    let mut expected = call.headers.clone();
    let mut seen = cx.call(call).await.map_err(|error| Failure::new(error.to_string()))?.headers;
    expected.sort();
    seen.sort();
    check_eq(&seen, &expected, "headers")
}

async fn older_and_newer_peers_get_their_answers(cx: &CallCtx) -> Result<(), Failure> {
    cx.world().other_versions(cx.host()).await?;
    cx.answers().await
}
