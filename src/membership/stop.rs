//! Stopping without losing a call: the order matters, and nothing waits for ever.

use std::time::Duration;

use registry_api::call::Host;
use registry_api::{Clock, Error, Lease};

use super::{Membership, MembershipState};

/// How long each step of a stop may take.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StopOptions {
    /// For the registry to take note that the instance is draining.
    pub announce: Duration,
    /// For callers to see it, after the registry did.
    pub notice: Duration,
    /// For calls in flight to finish.
    pub drain: Duration,
}

impl Default for StopOptions {
    /// Two seconds, half a second (what a change takes to its watchers in 99 of
    /// 100 cases where the backend pushes), ten seconds.
    fn default() -> Self {
        Self {
            announce: Duration::from_secs(2),
            notice: Duration::from_millis(500),
            drain: Duration::from_secs(10),
        }
    }
}

impl StopOptions {
    /// Sets how long callers get to see that it is draining. Where the backend
    /// is polled, this is to be longer than the poll's interval.
    #[must_use]
    pub fn with_notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }

    /// Sets how long calls in flight may take.
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }
}

impl Membership {
    /// Stops: says that it is draining, lets callers see it, lets `host` finish
    /// what is in flight, stops beating and leaves.
    ///
    /// Every step is bounded, so a registry that is gone delays the stop and
    /// does not prevent it. The error is that of leaving: the lease ends what
    /// the registry could not be told.
    pub async fn stop(self, host: Option<&dyn Host>, options: StopOptions) -> Result<(), Error> {
        let clock = &*self.clock;
        let before = self.lease();
        self.drain();
        if within(clock, options.announce, self.replaced(before)).await.is_some() {
            clock.sleep_until(clock.now() + options.notice).await;
        }
        if let Some(host) = host
            && within(clock, options.drain, host.close()).await.is_none()
        {
            tracing::warn!(id = %self.id(), "calls in flight did not finish in time");
        }
        self.leave().await
    }

    fn lease(&self) -> Option<Lease> {
        match &*self.state.borrow() {
            MembershipState::Connected(lease) => Some(lease.clone()),
            _ => None,
        }
    }

    /// Returns once a lease with a later revision was granted: the registry has
    /// taken the update.
    async fn replaced(&self, before: Option<Lease>) {
        let Some(before) = before else { return };
        let newer = |state: &MembershipState| match state {
            MembershipState::Connected(lease) => lease.revision != before.revision,
            MembershipState::Connecting { .. } => false,
            MembershipState::Left | MembershipState::Superseded => true,
        };
        let _ = self.state.clone().wait_for(newer).await; // It ends with the driver.
    }
}

/// What `work` makes, `None` if it takes longer than `limit`.
async fn within<T>(clock: &dyn Clock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep_until(clock.now() + limit) => None,
    }
}
