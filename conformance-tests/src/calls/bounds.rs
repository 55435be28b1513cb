//! Deadlines, sizes and numbers of calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_api::ErrorKind;
use registry_api::call::CallErrorKind;
use tokio::time::timeout;

use super::call_cases;
use super::cx::{CallCtx, MAX_INFLIGHT, PATIENCE, check_kind};
use crate::failure::{Failure, check, check_eq};

call_cases! { "bounds":
    "C1" the_deadline_reaches_the_handler [Headers]
    "C1" a_caller_never_waits_beyond_its_deadline
    "C1" giving_up_reaches_the_handler
    "C4" a_call_that_is_too_large_is_refused_and_the_link_survives
    "C4" an_answer_that_is_too_large_is_refused_and_the_link_survives
    "C8" calls_beyond_the_limit_are_shed
}

async fn the_deadline_reaches_the_handler(cx: &CallCtx) -> Result<(), Failure> {
    let limit = Duration::from_millis(700);
    let outcome = cx.call(cx.to("stall", "").with_timeout(limit)).await;
    check_kind(&outcome, ErrorKind::Timeout.into(), "a call that stalls")?;
    let seen = *cx.probe().timeout.borrow();
    check(seen <= limit && !seen.is_zero(), format_args!("the handler was given {seen:?}"))?;
    let dropped = |probe: &super::Probe| probe.dropped.load(Ordering::SeqCst) == 1;
    cx.until(dropped, "the handler goes on after the deadline").await
}

async fn a_caller_never_waits_beyond_its_deadline(cx: &CallCtx) -> Result<(), Failure> {
    let call = cx.to("stall", "").with_timeout(Duration::from_millis(200));
    let outcome = timeout(PATIENCE, cx.call(call)).await;
    let outcome = outcome.map_err(|_| Failure::new("it waits on"))?;
    check_kind(&outcome, ErrorKind::Timeout.into(), "a call that stalls")?;
    cx.answers().await
}

async fn giving_up_reaches_the_handler(cx: &CallCtx) -> Result<(), Failure> {
    cx.answers().await?;
    let calling = tokio::spawn(cx.calling()(cx.to("stall", "")));
    cx.probe().stalled.notified().await;
    calling.abort();
    let dropped = |probe: &super::Probe| probe.dropped.load(Ordering::SeqCst) == 1;
    cx.until(dropped, "the handler goes on although nobody waits").await?;
    cx.answers().await
}

async fn a_call_that_is_too_large_is_refused_and_the_link_survives(
    cx: &CallCtx,
) -> Result<(), Failure> {
    cx.answers().await?;
    let outcome = cx.call(cx.to("count", vec![0; 4 << 20])).await;
    check_kind(&outcome, ErrorKind::InvalidArgument.into(), "a call of 4 MiB")?;
    check_eq(&cx.probe().begun.load(Ordering::SeqCst), &0, "calls that arrived")?;
    cx.answers().await
}

async fn an_answer_that_is_too_large_is_refused_and_the_link_survives(
    cx: &CallCtx,
) -> Result<(), Failure> {
    let outcome = cx.call(cx.to("huge", "")).await;
    check_kind(&outcome, CallErrorKind::Framework, "an answer of 4 MiB")?;
    cx.answers().await
}

async fn calls_beyond_the_limit_are_shed(cx: &CallCtx) -> Result<(), Failure> {
    let calling = cx.calling();
    let waiting: Vec<_> =
        (0..MAX_INFLIGHT).map(|_| tokio::spawn(calling(cx.to("stall", "")))).collect();
    let all = |probe: &super::Probe| probe.begun.load(Ordering::SeqCst) == MAX_INFLIGHT;
    cx.until(all, "not all calls within the limit begin").await?;
    for _ in 0..10 {
        let outcome = timeout(PATIENCE, cx.call(cx.to("stall", ""))).await;
        let outcome = outcome.map_err(|_| Failure::new("a call beyond the limit is queued"))?;
        check_kind(&outcome, ErrorKind::Overloaded.into(), "a call beyond the limit")?;
    }
    cx.probe().release();
    for call in waiting {
        let outcome = call.await.map_err(|error| Failure::new(error.to_string()))?;
        check(outcome.is_ok(), format_args!("a call within the limit: {outcome:?}"))?;
    }
    cx.answers().await
}
