//! Calls that are under way on one connection, by numbers of our own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use registry_api::ErrorKind;
use registry_api::call::{CallError, CallErrorKind, Reply};
use tokio::sync::{mpsc, oneshot};

use crate::reverse::wire::ForwardResponse;
use crate::reverse::{MAX_PAYLOAD, message};

type Outcome = Result<Reply, CallError>;

#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    calls: HashMap<u64, Waiting>,
    next: u64,
    /// Calls that nobody waits for any more, whose answers may still come.
    given_up: VecDeque<u64>,
    closed: bool,
}

/// What a caller gets first: all there is, or the beginning of a stream.
pub(super) type First = Result<(Reply, Option<Results>), CallError>;
/// The results of a stream that follow the first; `None` is its end.
pub(super) type Results = mpsc::Receiver<Result<Option<Bytes>, CallError>>;

#[derive(Debug)]
struct Waiting {
    /// Until the first answer.
    caller: Option<oneshot::Sender<First>>,
    /// From then on, if it is a stream's.
    results: Option<mpsc::Sender<Result<Option<Bytes>, CallError>>>,
    /// The pieces of an answer that comes in several.
    pieces: BTreeMap<i64, Bytes>,
    bytes: usize,
}

/// What an answer was to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Somebody waited for it, or for more of it.
    Awaited,
    /// Its caller has given up.
    Late,
    /// Nobody ever asked, or it was answered before.
    Unasked,
}

/// So many late answers are known as such.
const REMEMBERED: usize = 1024;
/// The most pieces of one answer.
const MAX_PIECES: usize = 1024;

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().calls.len()
    }

    /// A place for an answer; `None` where there are `most` already, or the
    /// connection is closed.
    pub(super) fn begin(&self, most: usize) -> Result<(u64, oneshot::Receiver<First>), CallError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(gone().not_run());
        }
        if inner.calls.len() >= most {
            let reason = "too many calls over this connection are in flight";
            return Err(CallError::new(ErrorKind::Overloaded.into(), reason));
        }
        let (caller, answer) = oneshot::channel();
        let number = inner.next;
        inner.next += 1;
        let waiting =
            Waiting { caller: Some(caller), results: None, pieces: BTreeMap::new(), bytes: 0 };
        inner.calls.insert(number, waiting);
        Ok((number, answer))
    }

    /// Nobody waits any more; false if it was answered.
    pub(super) fn give_up(&self, number: u64) -> bool {
        let mut inner = self.lock();
        if inner.calls.remove(&number).is_none() {
            return false;
        }
        if inner.given_up.len() == REMEMBERED {
            inner.given_up.pop_front();
        }
        inner.given_up.push_back(number);
        true
    }

    /// An answer, or a piece of one.
    pub(super) fn answer(&self, response: ForwardResponse) -> Arrival {
        let Ok(number) = response.request_id.parse::<u64>() else { return Arrival::Unasked };
        let mut inner = self.lock();
        let streamed = response.response_stream_info.filter(|info| info.is_streamed);
        let Some(waiting) = inner.calls.get_mut(&number) else {
            let last = streamed.is_none_or(|info| info.is_final_chunk);
            return inner.nobody(number, message::stream_of(&response).unwrap_or(last));
        };
        if let Some(last) = message::stream_of(&response) {
            return inner.result(number, response, last);
        }
        let outcome = match streamed {
            None => message::to_outcome(response),
            Some(info) => match waiting.piece(info.chunk_index, &response.payload) {
                Ok(()) if !info.is_final_chunk => return Arrival::Awaited,
                Ok(()) => waiting.whole(info.chunk_index).and_then(|payload| {
                    message::to_outcome(ForwardResponse { payload, ..response })
                }),
                Err(error) => Err(error),
            },
        };
        inner.finish(number, outcome)
    }

    /// An answer that was too large to be read.
    pub(super) fn too_large(&self, request_id: &str) -> Arrival {
        let Ok(number) = request_id.parse::<u64>() else { return Arrival::Unasked };
        let mut inner = self.lock();
        match inner.calls.contains_key(&number) {
            true => inner.finish(number, Err(framework("the answer is too large"))),
            false => inner.nobody(number, true),
        }
    }

    /// The connection is gone, and so are all answers.
    pub(super) fn close(&self) {
        let calls = {
            let mut inner = self.lock();
            inner.closed = true;
            std::mem::take(&mut inner.calls)
        };
        for waiting in calls.into_values() {
            waiting.end(gone());
        }
    }
}

impl Inner {
    fn finish(&mut self, number: u64, outcome: Outcome) -> Arrival {
        let Some(mut waiting) = self.calls.remove(&number) else { return Arrival::Late };
        let told = match waiting.caller.take() {
            Some(caller) => caller.send(outcome.map(|reply| (reply, None))).is_ok(),
            // A stream that ends with an answer that is none of its own.
            None => {
                waiting.end(framework("a stream was followed by another answer"));
                true
            }
        };
        if told { Arrival::Awaited } else { Arrival::Late }
    }

    /// A result of a stream, or its end.
    fn result(&mut self, number: u64, response: ForwardResponse, last: bool) -> Arrival {
        let Some(waiting) = self.calls.get_mut(&number) else { return Arrival::Late };
        let outcome = message::to_outcome(response);
        match (waiting.caller.take(), outcome) {
            (Some(caller), Ok(reply)) if !last => {
                let (sender, results) = mpsc::channel(message::AHEAD + 1);
                waiting.results = Some(sender);
                let _ = caller.send(Ok((reply, Some(results)))); // Given up: it will be taken back.
            }
            (Some(caller), outcome) => {
                let nothing = Err(framework("a stream without a result"));
                let _ = caller.send(outcome.and(nothing));
                self.calls.remove(&number);
            }
            (None, outcome) => {
                let ended = last || outcome.is_err();
                let result = outcome.map(|reply| (!last).then_some(reply.payload));
                let full = waiting.results.as_ref().is_some_and(|to| to.try_send(result).is_err());
                // One that says more than it was asked for is cut off.
                if ended || full {
                    self.calls.remove(&number);
                }
            }
        }
        Arrival::Awaited
    }

    fn nobody(&mut self, number: u64, last: bool) -> Arrival {
        let Some(place) = self.given_up.iter().position(|known| *known == number) else {
            return Arrival::Unasked;
        };
        if last {
            self.given_up.remove(place);
        }
        Arrival::Late
    }
}

impl Waiting {
    /// Whoever waits, for the first answer or for more, gets an error.
    fn end(self, error: CallError) {
        if let Some(caller) = self.caller {
            let _ = caller.send(Err(error)); // Given up meanwhile.
        } else if let Some(results) = self.results {
            let _ = results.try_send(Err(error)); // Full: it ends all the same.
        }
    }

    fn piece(&mut self, index: i64, payload: &Bytes) -> Result<(), CallError> {
        self.bytes += payload.len();
        if self.bytes > MAX_PAYLOAD || self.pieces.len() >= MAX_PIECES {
            return Err(framework("the answer is too large"));
        }
        match self.pieces.insert(index, payload.clone()) {
            None => Ok(()),
            Some(_) => Err(framework("a piece of the answer came twice")),
        }
    }

    /// All pieces in order: from 0 to the one that says it is the last.
    fn whole(&mut self, last: i64) -> Result<Bytes, CallError> {
        let mut whole = BytesMut::with_capacity(self.bytes);
        for (expected, (index, piece)) in (0..=last).zip(&self.pieces) {
            if expected != *index {
                break;
            }
            whole.extend_from_slice(piece);
        }
        match whole.len() == self.bytes && self.pieces.keys().next_back() == Some(&last) {
            true => Ok(whole.freeze()),
            false => Err(framework("a piece of the answer is missing")),
        }
    }
}

fn framework(reason: &str) -> CallError {
    CallError::new(CallErrorKind::Framework, reason)
}

/// The connection went away with the call on it.
pub(super) fn gone() -> CallError {
    CallError::new(ErrorKind::Unavailable.into(), "the service's connection was closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reverse::wire::ResponseStreamInfo;

    fn response(number: u64, chunk: Option<(i64, bool)>, payload: &'static str) -> ForwardResponse {
        let info = chunk.map(|(chunk_index, is_final_chunk)| ResponseStreamInfo {
            is_streamed: true,
            chunk_index,
            is_final_chunk,
            ..ResponseStreamInfo::default()
        });
        ForwardResponse {
            request_id: number.to_string(),
            status_code: 200,
            payload: payload.into(),
            response_stream_info: info,
            ..ForwardResponse::default()
        }
    }

    #[tokio::test]
    async fn pieces_are_joined_in_order_and_a_gap_is_told() {
        let pending = Pending::default();
        let (number, answer) = pending.begin(10).unwrap();
        for (chunk, payload) in [((1, false), "b"), ((0, false), "a"), ((2, true), "c")] {
            assert_eq!(pending.answer(response(number, Some(chunk), payload)), Arrival::Awaited);
        }
        assert_eq!(answer.await.unwrap().unwrap().0.payload, "abc");
        for chunks in [&[(0, false), (2, true)][..], &[(0, false), (0, false)], &[(7, true)]] {
            let (number, answer) = pending.begin(10).unwrap();
            for chunk in chunks {
                pending.answer(response(number, Some(*chunk), "x"));
            }
            assert_eq!(answer.await.unwrap().unwrap_err().kind(), CallErrorKind::Framework);
        }
    }

    #[tokio::test]
    async fn late_answers_are_told_from_those_nobody_asked_for() {
        let pending = Pending::default();
        let (number, answer) = pending.begin(1).unwrap();
        assert!(pending.begin(1).is_err());
        drop(answer);
        assert!(pending.give_up(number));
        assert_eq!(pending.answer(response(number, None, "")), Arrival::Late);
        assert_eq!(pending.answer(response(number, None, "")), Arrival::Unasked);
        assert_eq!(pending.answer(response(99, None, "")), Arrival::Unasked);
        let (number, answer) = pending.begin(1).unwrap();
        assert_eq!(pending.answer(response(number, None, "x")), Arrival::Awaited);
        assert_eq!(pending.answer(response(number, None, "y")), Arrival::Unasked);
        assert_eq!(answer.await.unwrap().unwrap().0.payload, "x");
        let (_, answer) = pending.begin(1).unwrap();
        pending.close();
        assert_eq!(answer.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable.into());
        assert!(pending.begin(1).is_err());
    }
}
