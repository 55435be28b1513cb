//! Being a member: desired state on one side, a lease on the other.

mod declaration;
mod driver;
mod member;
mod pulse;
mod stop;
mod thread;
mod work;

use std::fmt::{self, Debug};
use std::sync::Arc;

use registry_api::{Clock, Error, InstanceId, InstanceSpec, Lease, Phase};
use tokio::sync::{oneshot, watch};

pub use self::declaration::{Declaration, DeclarationState};
pub(crate) use self::driver::Driver;
use self::driver::{Order, Orders};
pub(crate) use self::pulse::{Pulse, Pulsing};
pub use self::stop::StopOptions;

/// An instance that is kept joined until it leaves.
///
/// Dropping it leaves too, without waiting; [`leave`](Self::leave) waits.
#[must_use = "an instance leaves when its membership is dropped"]
pub struct Membership {
    id: InstanceId,
    key: u64,
    orders: Orders,
    clock: Arc<dyn Clock>,
    state: watch::Receiver<MembershipState>,
}

/// How a membership stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MembershipState {
    /// Not joined yet, or trying to come back. It never gives up; the last
    /// refusal is there for people.
    Connecting {
        /// What the registry answered to the last try, if it did.
        refusal: Option<String>,
    },
    /// Joined under this lease.
    Connected(Lease),
    /// It has left.
    Left,
    /// A newer epoch of the same id is live; this one has stopped for good.
    Superseded,
}

impl Membership {
    /// The id of the instance.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// How it stands now.
    pub fn state(&self) -> MembershipState {
        self.state.borrow().clone()
    }

    /// Returns the state once it is another than the one returned last.
    pub async fn changed(&mut self) -> MembershipState {
        match self.state.changed().await {
            Ok(()) => self.state.borrow_and_update().clone(),
            Err(_) => MembershipState::Left, // The driver is gone with its runtime.
        }
    }

    /// The state as a value to watch: for a readiness endpoint, a log, a metric.
    pub fn watch(&self) -> watch::Receiver<MembershipState> {
        self.state.clone()
    }

    /// Whether it is joined: what a readiness endpoint asks.
    pub fn is_connected(&self) -> bool {
        matches!(*self.state.borrow(), MembershipState::Connected(_))
    }

    /// Returns the lease once it is connected, `None` if it never will be.
    pub async fn connected(&self) -> Option<Lease> {
        let mut state = self.state.clone();
        let settled =
            |state: &MembershipState| !matches!(state, MembershipState::Connecting { .. });
        let state = state.wait_for(settled).await.ok()?;
        match &*state {
            MembershipState::Connected(lease) => Some(lease.clone()),
            _ => None,
        }
    }

    /// Changes what is offered, in place: same epoch, one event. Takes effect
    /// with the next connect, which is now.
    pub fn update(&self, change: impl FnOnce(&mut InstanceSpec) + Send + 'static) {
        self.orders.send(Order::Update(self.key, Box::new(change)));
    }

    /// Declares that it is finishing and should get no new calls.
    /// [`stop`](Self::stop) does this and everything after it.
    pub fn drain(&self) {
        self.update(|spec| spec.phase = Phase::Draining);
    }

    /// Leaves and waits for the registry's answer, at most four seconds: two,
    /// should a connect still be under way, and two for the disconnect. The
    /// lease ends what an unreachable registry could not be told.
    pub async fn leave(self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.orders.send(Order::Leave(self.key, Some(done)));
        answer.await.unwrap_or(Ok(()))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.orders.send(Order::Leave(self.key, None));
    }
}

impl Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("id", &self.id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
