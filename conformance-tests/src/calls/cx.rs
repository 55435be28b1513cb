//! What a case about calls works with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Host, Peer, Reply};
use registry_api::{Offer, ServiceName};
use tokio::time::timeout;

use super::probe::Probe;
use super::wire::WireWorld;
use crate::failure::{Failure, check};

/// One case's world, with a [`Probe`] being served.
pub struct CallCtx {
    world: Box<dyn WireWorld>,
    probe: Arc<Probe>,
    host: Box<dyn Host>,
    offer: Offer,
}

/// How long what should happen at once may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How many calls the probe takes at a time.
pub(super) const MAX_INFLIGHT: usize = 64;

fn service() -> ServiceName {
    ServiceName::parse("Probe").expect("a name")
}

impl CallCtx {
    pub(super) async fn open(world: Box<dyn WireWorld>) -> Result<Self, Failure> {
        let probe = Arc::new(Probe::default());
        let handler: Arc<Probe> = Arc::clone(&probe);
        let host = world.serve(service(), handler, MAX_INFLIGHT).await?;
        let offer = host.offers().into_iter().next();
        let offer = offer.ok_or_else(|| Failure::new("the host offers nothing"))?;
        Ok(Self { world, probe, host, offer })
    }

    /// The handler.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    pub(super) fn world(&self) -> &dyn WireWorld {
        &*self.world
    }

    pub(super) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// A call of a method; ten seconds.
    pub fn to(&self, method: &str, payload: impl Into<Bytes>) -> Call {
        Call::new(service(), method, payload.into())
    }

    /// Calls the probe.
    pub async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.calling()(call).await
    }

    /// A way to call the probe that can be taken elsewhere.
    pub fn calling(
        &self,
    ) -> impl Fn(Call) -> futures_util::future::BoxFuture<'static, Result<Reply, CallError>>
    + Send
    + Sync
    + 'static
    + use<> {
        let (caller, offer): (Arc<dyn Caller>, _) = (self.world.caller(), self.offer.clone());
        move |call| {
            let (caller, offer) = (Arc::clone(&caller), offer.clone());
            Box::pin(async move {
                let mut peer = Peer::at(&offer.addresses[0]);
                peer.metadata = Some(&offer.metadata);
                caller.call(peer, call).await
            })
        }
    }

    /// Fails unless an ordinary call is answered, soon.
    pub async fn answers(&self) -> Result<(), Failure> {
        let echo = timeout(PATIENCE, self.call(self.to("echo", "hello"))).await;
        match echo {
            Ok(Ok(reply)) => check(reply.payload == "hello", "the answer is another's"),
            Ok(Err(error)) => Err(Failure::new(format!("an ordinary call fails: {error:?}"))),
            Err(_) => Err(Failure::new("an ordinary call has no answer")),
        }
    }

    /// Waits until something holds.
    pub async fn until(&self, holds: impl Fn(&Probe) -> bool, what: &str) -> Result<(), Failure> {
        for _ in 0..500 {
            if holds(&self.probe) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Failure::new(what))
    }
}

/// Fails unless a call failed in this way.
pub(super) fn check_kind(
    outcome: &Result<Reply, CallError>,
    expected: CallErrorKind,
    what: &str,
) -> Result<(), Failure> {
    let seen = outcome.as_ref().err().map(CallError::kind);
    check(seen == Some(expected), format_args!("{what}: expected {expected:?}, saw {outcome:?}"))
}

impl std::fmt::Debug for CallCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallCtx").field("offer", &self.offer).finish_non_exhaustive()
    }
}
