//! Stalls, cuts and callers that give up: whose problem they are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_api::ErrorKind;
use tokio::time::timeout;

use super::call_cases;
use super::cx::{CallCtx, PATIENCE, check_kind};
use crate::failure::{Failure, check, check_eq};

call_cases! { "faults":
    "C3" a_call_that_stalls_delays_no_other
    "C5" a_call_on_a_link_that_is_cut_fails_once [Link]
    "C5" after_a_cut_the_next_call_works [Link]
    "C6" replies_reach_only_their_callers
}

async fn a_call_that_stalls_delays_no_other(cx: &CallCtx) -> Result<(), Failure> {
    let stalled = tokio::spawn(cx.calling()(cx.to("stall", "late")));
    cx.probe().stalled.notified().await;
    let others = async {
        for number in 0..50_u32 {
            let sent = number.to_be_bytes().to_vec();
            let outcome = cx.call(cx.to("echo", sent.clone())).await;
            let reply = outcome.map_err(|error| Failure::new(error.to_string()))?;
            check(*reply.payload == sent[..], "an answer of another call")?;
        }
        Ok::<_, Failure>(())
    };
    timeout(PATIENCE, others).await.map_err(|_| Failure::new("others wait for it"))??;
    check(!stalled.is_finished(), "it did not stall")?;
    cx.probe().release();
    let outcome = stalled.await.map_err(|error| Failure::new(error.to_string()))?;
    check(outcome.is_ok_and(|reply| reply.payload == "late"), "its own answer")
}

async fn a_call_on_a_link_that_is_cut_fails_once(cx: &CallCtx) -> Result<(), Failure> {
    let calling = tokio::spawn(cx.calling()(cx.to("stall", "")));
    cx.probe().stalled.notified().await;
    cx.world().cut().await;
    let outcome = timeout(PATIENCE, calling).await;
    let outcome = outcome.map_err(|_| Failure::new("it waits for what cannot come"))?;
    let outcome = outcome.map_err(|error| Failure::new(error.to_string()))?;
    check_kind(&outcome, ErrorKind::Unavailable.into(), "a call whose link is cut")?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    check_eq(&cx.probe().begun.load(Ordering::SeqCst), &1, "how often it ran")
}

async fn after_a_cut_the_next_call_works(cx: &CallCtx) -> Result<(), Failure> {
    for _ in 0..10 {
        cx.answers().await?;
        cx.world().cut().await;
        // What was cut is seen as such within a moment, not at the next call's cost; a
        // busy machine needs a longer one.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    cx.answers().await
}

/// Every third caller gives up somewhere on the way.
async fn replies_reach_only_their_callers(cx: &CallCtx) -> Result<(), Failure> {
    let calling = std::sync::Arc::new(cx.calling());
    let tasks: Vec<_> = (0..32_u64)
        .map(|task| {
            let (calling, base) = (std::sync::Arc::clone(&calling), cx.to("echo", ""));
            tokio::spawn(async move {
                for number in 0..100_u64 {
                    let token =
                        (task << 32 | number).to_be_bytes().repeat(1 + number as usize % 50);
                    let mut call = base.clone();
                    call.payload = token.clone().into();
                    let answer = calling(call);
                    if number % 3 == 0 {
                        let moment = Duration::from_micros(number * 7 % 300);
                        drop(timeout(moment, answer).await);
                        continue;
                    }
                    let outcome = answer.await;
                    let reply = outcome.map_err(|error| Failure::new(format!("{error:?}")))?;
                    check(*reply.payload == token[..], "an answer reached another caller")?;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| Failure::new(error.to_string()))??;
    }
    Ok(())
}
