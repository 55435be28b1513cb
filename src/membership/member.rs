//! One member as its driver keeps it.

use registry_api::kernel::{Session, SessionState, Step};
use registry_api::{
    Beat, BeatOutcome, Error, ErrorKind, InstanceRef, InstanceSpec, Lease, LeaseTerms, Result,
    Timestamp,
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
    /// What it was connected with last.
    connected: Option<u64>,
}

impl Member {
    pub(super) fn new(spec: InstanceSpec, state: watch::Sender<MembershipState>) -> Self {
        let session = Session::new(fastrand::u64(..));
        Self { spec, session, lease: None, state, version: 0, connected: None }
    }

    pub(super) fn step(&self, now: Timestamp) -> Step {
        self.session.step(now)
    }

    /// What to do when others have something to do: a beat goes up to a quarter
    /// of its interval early, so that those of all members soon go together.
    pub(super) fn step_along(&self, now: Timestamp) -> Step {
        let early = self.terms().heartbeat_interval() / 4;
        match self.session.step(now) {
            Step::Wait(until) if self.session.lease_ends().is_some() && until <= now + early => {
                Step::Beat
            }
            step => step,
        }
    }

    /// Those granted, or those asked for.
    pub(super) fn terms(&self) -> LeaseTerms {
        self.lease.as_ref().map_or(self.spec.terms, |lease| lease.terms)
    }

    /// Whether it is to connect because it was lost, not because its
    /// application asks for something.
    pub(super) fn is_returning(&self, now: Timestamp) -> bool {
        self.connected == Some(self.version) && self.session.step(now) == Step::Connect
    }

    /// When its lease ends unless a beat is acknowledged, where that is to come.
    pub(super) fn lease_ends(&self, now: Timestamp) -> Option<Timestamp> {
        self.session.lease_ends().filter(|ends| *ends > now)
    }

    /// Whether the registry still lists it, as far as it can know.
    pub(super) fn is_listed(&self, now: Timestamp) -> bool {
        self.session.is_listed(now)
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
                self.connected = Some(version);
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
                self.unheard(&error);
            }
        }
    }

    /// Its connect was not answered, or refused.
    pub(super) fn unheard(&self, error: &Error) {
        self.tell(MembershipState::Connecting { refusal: Some(error.to_string()) });
    }

    pub(super) fn beaten(&mut self, outcome: BeatOutcome, sent: Timestamp, now: Timestamp) {
        self.session.beaten(outcome, sent, now);
        match &self.lease {
            Some(lease) if self.session.state(now) == SessionState::Connected => {
                self.tell(MembershipState::Connected(lease.clone()));
            }
            _ => self.tell_if_lost(now),
        }
    }

    pub(super) fn left(&self) {
        self.tell(MembershipState::Left);
    }

    /// Its lease has ended without an answer, or somebody took its place.
    pub(super) fn tell_if_lost(&self, now: Timestamp) {
        let connected = matches!(*self.state.borrow(), MembershipState::Connected(_));
        match self.session.state(now) {
            SessionState::Connecting if connected => {
                self.tell(MembershipState::Connecting { refusal: None });
            }
            SessionState::Connected | SessionState::Connecting => {}
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
