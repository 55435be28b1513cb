//! Calls that leave no process: for tests, for services that live together, and
//! as the shortest of all wires.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures_util::FutureExt;
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Handler, Host, Peer, Reply};
use registry_api::{Address, ErrorKind, Offer, ServiceName};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// A caller of the handlers it serves. Cloning shares them.
///
/// The same limits as on a wire: messages of 1 MiB, and what is beyond a host's
/// calls in flight is `Overloaded`.
#[derive(Clone, Default)]
pub struct InProcess {
    hosts: Arc<Hosts>,
}

type Hosts = RwLock<HashMap<Address, Arc<Served>>>;

struct Served {
    service: ServiceName,
    handler: Arc<dyn Handler>,
    slots: Semaphore,
    max_inflight: usize,
    /// How many still listen; closed with the host.
    closed: watch::Sender<bool>,
}

/// A handler that can be called until this is closed or dropped.
pub struct InProcessHost {
    hosts: Arc<Hosts>,
    served: Arc<Served>,
    offer: Offer,
}

/// The largest message, as on every wire.
const MAX_MESSAGE: usize = 1 << 20;

impl InProcess {
    /// Nobody is served yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves `handler` at an address, whose scheme means nothing here, in the
    /// place of whoever was served there.
    pub fn serve(
        &self,
        service: ServiceName,
        address: Address,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> InProcessHost {
        let served = Arc::new(Served {
            service: service.clone(),
            handler,
            slots: Semaphore::new(max_inflight),
            max_inflight,
            closed: watch::Sender::new(false),
        });
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(address.clone(), Arc::clone(&served));
        let offer = Offer::new(service, address);
        InProcessHost { hosts: Arc::clone(&self.hosts), served, offer }
    }

    fn find(&self, address: &Address) -> Option<Arc<Served>> {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.get(address).cloned()
    }
}

#[async_trait]
impl Caller for InProcess {
    /// Whatever is served here, under whatever scheme.
    fn speaks(&self, _: &Address) -> bool {
        true
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let served = self.find(peer.address).ok_or_else(|| nobody().not_run())?;
        if served.service != call.service {
            let reason = format!("this instance serves {}", served.service);
            return Err(CallError::new(CallErrorKind::WrongInstance, reason));
        }
        if call.payload.len() > MAX_MESSAGE {
            return Err(failed(ErrorKind::InvalidArgument, "the call is too large"));
        }
        let within = call.time_left();
        if call.oneway {
            // Ends with its own deadline.
            tokio::spawn(async move { timeout(within, served.run(call)).await });
            return Ok(Reply::default());
        }
        let mut closed = served.closed.subscribe();
        let answer = async {
            tokio::select! {
                biased;
                answer = served.run(call) => answer,
                _ = closed.wait_for(|closed| *closed) => Err(nobody()),
            }
        };
        let ended = timeout(within, answer).await;
        ended.unwrap_or_else(|_| Err(failed(ErrorKind::Timeout, "no answer before the deadline")))
    }
}

impl Served {
    async fn run(&self, call: Call) -> Result<Reply, CallError> {
        let reason = "too many calls to this instance are in flight";
        let slot = self.slots.try_acquire();
        let _slot = slot.map_err(|_| failed(ErrorKind::Overloaded, reason))?;
        let answer = AssertUnwindSafe(self.handler.handle(call)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            Err(CallError::new(CallErrorKind::Framework, "the handler of the call panicked"))
        });
        match answer {
            Ok(reply) if reply.payload.len() > MAX_MESSAGE => {
                Err(CallError::new(CallErrorKind::Framework, "the answer is too large"))
            }
            answer => answer,
        }
    }
}

#[async_trait]
impl Host for InProcessHost {
    fn offers(&self) -> Vec<Offer> {
        vec![self.offer.clone()]
    }

    fn is_guarded(&self) -> bool {
        self.served.handler.is_guarded()
    }

    async fn close(&self) {
        self.leave();
        let all = u32::try_from(self.served.max_inflight).unwrap_or(u32::MAX);
        // All slots are back once nothing is in flight; it is never closed.
        drop(self.served.slots.acquire_many(all).await);
    }
}

impl InProcessHost {
    /// Nobody finds it any more.
    fn leave(&self) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        let address = &self.offer.addresses[0];
        if hosts.get(address).is_some_and(|served| Arc::ptr_eq(served, &self.served)) {
            hosts.remove(address);
        }
    }
}

impl Drop for InProcessHost {
    fn drop(&mut self) {
        self.leave();
        self.served.closed.send_replace(true);
    }
}

fn nobody() -> CallError {
    failed(ErrorKind::Unavailable, "nobody is served at this address")
}

fn failed(kind: ErrorKind, reason: &str) -> CallError {
    CallError::new(kind.into(), reason)
}

impl Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl Debug for InProcessHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessHost").field("offer", &self.offer).finish_non_exhaustive()
    }
}
