//! One service's connection, as everybody who calls over it sees it.

use std::sync::Arc;

use futures_util::stream;
use registry_api::access::Credential;
use registry_api::call::{Call, CallError, CallErrorKind, More, Reply};
use registry_api::{ErrorKind, ServiceName};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::pending::{Pending, Results, gone};
use crate::reverse::outbox::{Outbox, Refused};
use crate::reverse::wire::connection_message::MessageType;
use crate::reverse::wire::connection_status::StatusType;
use crate::reverse::wire::{ConnectionStatus, ForwardResponse};
use crate::reverse::{MAX_PAYLOAD, message};

/// A stream on which calls go to a service.
#[derive(Debug)]
pub(super) struct Connection {
    /// Names it on this gateway, once and for all.
    pub(super) serial: u64,
    /// What its service calls it.
    pub(super) id: String,
    pub(super) services: Vec<ServiceName>,
    pub(super) credential: Credential,
    pub(super) outbox: Arc<Outbox>,
    pub(super) pending: Pending,
    /// Told for every sign of life.
    pub(super) beaten: Notify,
    /// The other end is of this crate.
    pub(super) ours: bool,
    max_inflight: usize,
    closing: watch::Sender<Option<Closing>>,
    left: watch::Sender<bool>,
}

/// Why a connection is to end.
#[derive(Clone, Debug)]
pub(super) enum Closing {
    /// What is in flight may finish.
    Draining,
    /// At once; the text is for people.
    Now(String),
}

impl Connection {
    pub(super) fn new(
        serial: u64,
        id: String,
        services: Vec<ServiceName>,
        credential: Credential,
        ours: bool,
        max_inflight: usize,
    ) -> Self {
        Self {
            serial,
            id,
            services,
            credential,
            outbox: Arc::default(),
            pending: Pending::default(),
            beaten: Notify::new(),
            ours,
            max_inflight,
            closing: watch::Sender::new(None),
            left: watch::Sender::new(false),
        }
    }

    /// Ends it. What was decided first counts, but draining may be cut short.
    pub(super) fn close(&self, closing: Closing) {
        self.closing.send_if_modified(|known| {
            let first = !matches!(known, Some(Closing::Now(_)));
            if first {
                *known = Some(closing);
            }
            first
        });
    }

    pub(super) fn closing(&self) -> watch::Receiver<Option<Closing>> {
        self.closing.subscribe()
    }

    /// Nobody serves it any more.
    pub(super) fn left(&self) {
        self.left.send_replace(true);
    }

    /// Returns once nobody does.
    pub(super) async fn closed(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }

    /// Tells the service how its connection stands.
    pub(super) fn tell(&self, status: StatusType, message: impl Into<String>) {
        let status = ConnectionStatus {
            connection_id: self.id.clone(),
            status: status.into(),
            message: message.into(),
        };
        // Where nothing more is written, the end of the stream says enough.
        let _ = self.outbox.push_first(MessageType::Status(status));
    }

    /// Tells the service that it is connected, and by which id it beats.
    pub(super) fn greet(&self) {
        let text = format!(
            "Connection established. Use connection_id '{}' for all heartbeat messages",
            self.id
        );
        self.tell(StatusType::Connected, text);
    }

    /// Answers a request that came up the stream.
    pub(super) fn respond(&self, response: ForwardResponse) -> Result<(), Refused> {
        self.outbox.push(MessageType::Response(response))
    }

    /// Calls the service.
    pub(super) async fn call(self: Arc<Self>, call: Call) -> Result<Reply, CallError> {
        if !self.services.contains(&call.service) {
            let reason = format!("this connection does not serve {}", call.service);
            return Err(CallError::new(CallErrorKind::WrongInstance, reason));
        }
        if call.payload.len() > MAX_PAYLOAD {
            let reason = format!("the call cannot be sent: more than {MAX_PAYLOAD} bytes");
            return Err(CallError::new(ErrorKind::InvalidArgument.into(), reason).not_run());
        }
        let (number, answer) = self.pending.begin(self.max_inflight)?;
        let mut asked =
            Asked { connection: Arc::clone(&self), number, cancels: false, answered: false };
        let request = message::to_request(number.to_string(), &call, self.ours);
        self.outbox.push(MessageType::Request(request)).map_err(|refused| match refused {
            Refused::Closed => gone().not_run(),
            Refused::Full => {
                let reason = "the service does not read what it is sent";
                CallError::new(ErrorKind::Overloaded.into(), reason)
            }
        })?;
        if call.oneway {
            return Ok(Reply::default());
        }
        asked.cancels = self.ours;
        match timeout(call.time_left(), answer).await {
            Ok(answer) => {
                let (mut reply, results) = answer.unwrap_or_else(|_| Err(gone()))?;
                match results {
                    Some(results) => reply.more = Some(more(asked, results)),
                    None => asked.answered = true,
                }
                Ok(reply)
            }
            Err(_) => {
                Err(CallError::new(ErrorKind::Timeout.into(), "no answer before the deadline"))
            }
        }
    }
}

/// The results of a stream, as fast as they are read. Dropped before its end, it
/// takes the call back.
fn more(asked: Asked, results: Results) -> More {
    let reading = Some((asked, results, 0_usize));
    More::new(stream::unfold(reading, |reading| async move {
        let (asked, mut results, mut read) = reading?;
        let result = match results.recv().await {
            Some(Ok(Some(result))) => result,
            Some(Ok(None)) => return None,
            Some(Err(error)) => return Some((Err(error), None)),
            // Cut off before it said that it had ended.
            None => return Some((Err(gone()), None)),
        };
        read += 1;
        if read == message::AHEAD / 2 {
            let window = message::window(asked.number.to_string(), read as i64);
            // Where there is no room the stream stops, and its deadline ends it.
            let _ = asked.connection.outbox.push_first(MessageType::Request(window));
            read = 0;
        }
        Some((Ok(result), Some((asked, results, read))))
    }))
}

/// A call under way. Dropped before its answer came, it is taken back where the
/// other end understands that.
struct Asked {
    connection: Arc<Connection>,
    number: u64,
    cancels: bool,
    answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered && self.connection.pending.give_up(self.number) && self.cancels {
            let cancel = message::cancel(self.number.to_string());
            // Behind the call itself; where there is no room it runs to its end.
            let _ = self.connection.outbox.push(MessageType::Request(cancel));
        }
    }
}
