//! One member as its driver keeps it.

use registry_api::kernel::{Session, SessionState, Step};
use registry_api::{
    Beat, BeatOutcome, ErrorKind, InstanceRef, InstanceSpec, Lease, Result, Timestamp,
};
use tokio::sync::watch;

use super::MembershipState;

/// What is wanted, what is held, and when to act.
pub(super) struct Member {
    spec: InstanceSpec,
    session: Session,
    lease: Option<Lease>,
    state: watch::Sender<MembershipState>,
    /// Grows with each change of the wanted data, so that an answer to older
    /// data is not taken for one to the current.
    version: u64,
}

impl Member {
    pub(super) fn new(spec: InstanceSpec, state: watch::Sender<MembershipState>) -> Self {
        Self { spec, session: Session::new(fastrand::u64(..)), lease: None, state, version: 0 }
    }

    pub(super) fn step(&self, now: Timestamp) -> Step {
        self.session.step(now)
    }

    /// What to connect with: current data, and the epoch this holder has, so
    /// that it can never push its own successor out.
    pub(super) fn spec(&self) -> (u64, InstanceSpec) {
        let mut spec = self.spec.clone();
        spec.epoch = self.lease.as_ref().map(|lease| lease.epoch).or(spec.epoch);
        (self.version, spec)
    }

    pub(super) fn beat(&self) -> Option<Beat> {
        self.lease.as_ref().map(Lease::beat)
    }

    pub(super) fn reference(&self) -> Option<InstanceRef> {
        let lease = self.lease.as_ref()?;
        Some(InstanceRef { id: lease.id.clone(), epoch: lease.epoch })
    }

    pub(super) fn update(&mut self, change: impl FnOnce(&mut InstanceSpec), now: Timestamp) {
        change(&mut self.spec);
        self.version += 1;
        self.session.changed(now);
    }

    pub(super) fn connected(
        &mut self,
        answer: Result<Lease>,
        version: u64,
        sent: Timestamp,
        now: Timestamp,
    ) {
        match answer {
            Ok(lease) => {
                self.session.connected(lease.terms, sent);
                if version != self.version {
                    self.session.changed(now);
                }
                self.lease = Some(lease.clone());
                self.tell(MembershipState::Connected(lease));
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.session.replaced();
                self.tell(MembershipState::Superseded);
            }
            Err(error) => {
                self.session.failed(now, error.retry_delay());
                self.tell(MembershipState::Connecting { refusal: Some(error.to_string()) });
            }
        }
    }

    pub(super) fn beaten(&mut self, outcome: Result<BeatOutcome>, sent: Timestamp, now: Timestamp) {
        match outcome {
            Ok(outcome) => self.session.beaten(outcome, sent, now),
            Err(error) => self.session.failed(now, error.retry_delay()),
        }
        self.tell_if_lost(now);
    }

    pub(super) fn left(&self) {
        self.tell(MembershipState::Left);
    }

    fn tell_if_lost(&self, now: Timestamp) {
        match self.session.state(now) {
            SessionState::Connected => {}
            SessionState::Connecting => self.tell(MembershipState::Connecting { refusal: None }),
            SessionState::Superseded => self.tell(MembershipState::Superseded),
        }
    }

    fn tell(&self, state: MembershipState) {
        self.state.send_if_modified(|known| {
            let news = *known != state;
            *known = state;
            news
        });
    }
}
