//! Renewals: those of a whole process are one stream, on a connection that
//! nothing else can fill.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use registry_api::{Clock, Error, ErrorKind, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::fault::{Failed, failed, too_late};
use crate::lane::Lane;
use crate::leases::Pair;
use crate::link::{Endpoints, Link};

/// Takes renewals; its task ends with it.
#[derive(Debug)]
pub(crate) struct Keeper {
    calls: mpsc::Sender<Call>,
    _lane: Lane,
}

/// A lease that is to be renewed, and who waits for the seconds it has then.
struct Call {
    lease: i64,
    answer: oneshot::Sender<Result<i64, Failed>>,
}

/// Renewals that may wait. Whoever comes after that is told so.
const WAITING: usize = 65_536;

impl Keeper {
    pub(crate) fn start(endpoints: &Arc<Endpoints>, clock: Arc<dyn Clock>) -> Self {
        let (calls, waiting) = mpsc::channel(WAITING);
        let link = Link::new(endpoints);
        let renewing = Renewing { link, clock, waiting, asked: VecDeque::new() };
        Self { calls, _lane: Lane::spawn(renewing.run()) }
    }

    /// Renews a lease; whether it is still there.
    pub(crate) async fn renew(&self, lease: i64) -> Result<bool, Failed> {
        let (answer, answered) = oneshot::channel();
        self.calls.try_send(Call { lease, answer }).map_err(|_| {
            let message = "too many heartbeats wait for etcd";
            Failed::Refused(Error::new(ErrorKind::Overloaded, message))
        })?;
        let closed = |_| Failed::Refused(Error::new(ErrorKind::Closed, "the handle was closed"));
        answered.await.map_err(closed)?.map(|seconds| seconds > 0)
    }

    /// Renews the leases of a life; whether each is still there. `None` where it
    /// has no second one.
    pub(crate) async fn renew_each(&self, leases: Pair) -> Result<(bool, Option<bool>), Failed> {
        let alive = async {
            match leases.alive {
                Some(lease) => self.renew(lease).await.map(Some),
                None => Ok(None),
            }
        };
        tokio::try_join!(self.renew(leases.presence), alive)
    }
}

struct Renewing {
    link: Link,
    clock: Arc<dyn Clock>,
    waiting: mpsc::Receiver<Call>,
    /// What was asked and when, oldest first: etcd answers in this order.
    asked: VecDeque<(Timestamp, Call)>,
}

impl Renewing {
    async fn run(mut self) {
        while let Some(first) = self.waiting.recv().await {
            if let Err(failed) = self.stream(first).await {
                self.fail(&failed.into());
            }
        }
    }

    /// Keeps one stream, which begins with a renewal, as long as it works.
    async fn stream(&mut self, first: Call) -> Result<(), Failed> {
        let lease = first.lease;
        self.note(first);
        let mut opened = self.link.open().await?;
        let number = opened.number();
        let opening = opened.client.lease_keep_alive(lease);
        let done = match timeout(self.link.patience(), opening).await {
            Ok(Ok((keeper, stream))) => {
                self.answer(lease, i64::MAX)?;
                self.renew(keeper, stream).await
            }
            // Not a failure of the stream: this lease is gone.
            Ok(Err(etcd_client::Error::LeaseKeepAliveError(_))) => {
                return self.answer(lease, 0);
            }
            Ok(Err(fault)) => Err(failed(fault)),
            Err(_) => Err(too_late()),
        };
        if done.is_err() {
            self.link.give_up(number).await;
        }
        done
    }

    async fn renew(
        &mut self,
        mut keeper: LeaseKeeper,
        mut stream: LeaseKeepAliveStream,
    ) -> Result<(), Failed> {
        loop {
            let patience = self.link.patience();
            let now = self.clock.now();
            let oldest = self.asked.front().map(|(asked, _)| now.since(*asked));
            let left = oldest.map_or(patience, |waited| patience.saturating_sub(waited));
            tokio::select! {
                biased;
                answer = stream.message() => {
                    let answer = answer.map_err(failed)?.ok_or_else(too_late)?;
                    self.answer(answer.id(), answer.0.ttl)?;
                }
                call = self.waiting.recv() => {
                    let Some(call) = call else { return Ok(()) };
                    keeper.id = call.lease;
                    self.note(call);
                    let sent = timeout(patience, keeper.keep_alive()).await;
                    sent.map_err(|_| too_late())?.map_err(failed)?;
                }
                () = sleep(left) => {
                    if oldest.is_some() {
                        return Err(too_late());
                    }
                }
            }
        }
    }

    fn note(&mut self, call: Call) {
        self.asked.push_back((self.clock.now(), call));
    }

    /// Answers whoever has waited longest. Not everybody who waits for the lease:
    /// one renewal is older than what was asked after it.
    fn answer(&mut self, lease: i64, seconds: i64) -> Result<(), Failed> {
        match self.asked.pop_front() {
            Some((_, call)) if call.lease == lease => {
                let _ = call.answer.send(Ok(seconds)); // Nobody may wait any more.
                Ok(())
            }
            call => {
                self.asked.extend(call);
                let message = "etcd answered for a lease that was not asked about";
                Err(Failed::Unreachable(Error::new(ErrorKind::Unavailable, message)))
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        for (_, call) in self.asked.drain(..) {
            let _ = call.answer.send(Err(Failed::Unreachable(copy(error))));
        }
    }
}

/// The same error for one more who waits, without the client's own words.
fn copy(error: &Error) -> Error {
    Error::new(error.kind(), error.message())
}
