//! A holder's side of a lease: when to connect, when to beat, when to worry.
//!
//! Sans-IO: the caller asks [`Session::step`] what to do, does it, and reports.
//! It never gives up and never replays: what is connected is always the
//! caller's current data.

use std::time::Duration;

use super::backoff::Backoff;
use crate::lease::{BeatOutcome, LeaseTerms};
use crate::time::Timestamp;

/// When a holder connects, beats and worries.
#[derive(Debug)]
pub struct Session {
    state: State,
    backoff: Backoff,
}

#[derive(Debug)]
enum State {
    Apart { next_try: Timestamp },
    Joined { terms: LeaseTerms, acknowledged: Timestamp, next_beat: Timestamp },
    Replaced,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a beat.
    Beat,
    /// Connect with the current data.
    Connect,
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing ever: another holder took the place over.
    Stop,
}

/// What a holder can tell others about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The lease is alive as far as the holder can know.
    Connected,
    /// Never connected yet, or trying to come back.
    Connecting,
    /// A newer epoch of the id is live; this holder must stop.
    Superseded,
}

impl Session {
    /// A session that connects at once.
    pub fn new(seed: u64) -> Self {
        Self {
            state: State::Apart { next_try: Timestamp::ZERO },
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed),
        }
    }

    /// What to do at `now`.
    pub fn step(&self, now: Timestamp) -> Step {
        match self.state {
            State::Apart { next_try } if next_try > now => Step::Wait(next_try),
            State::Apart { .. } => Step::Connect,
            // A beat could only be answered with `Unknown`.
            State::Joined { .. } if !self.is_listed(now) => Step::Connect,
            State::Joined { next_beat, .. } if next_beat > now => Step::Wait(next_beat),
            State::Joined { .. } => Step::Beat,
            State::Replaced => Step::Stop,
        }
    }

    /// What is known at `now`. A lease whose ttl passed without an
    /// acknowledgement counts as lost, before others take over.
    pub fn state(&self, now: Timestamp) -> SessionState {
        match self.state {
            State::Joined { terms, acknowledged, .. } if now < acknowledged + terms.ttl() => {
                SessionState::Connected
            }
            State::Joined { .. } | State::Apart { .. } => SessionState::Connecting,
            State::Replaced => SessionState::Superseded,
        }
    }

    /// When the lease ends unless another beat is acknowledged; `None` while
    /// there is none.
    pub fn lease_ends(&self) -> Option<Timestamp> {
        match self.state {
            State::Joined { terms, acknowledged, .. } => Some(acknowledged + terms.ttl()),
            State::Apart { .. } | State::Replaced => None,
        }
    }

    /// Whether the registry still lists the holder, as far as it can know.
    pub fn is_listed(&self, now: Timestamp) -> bool {
        match self.state {
            State::Joined { terms, acknowledged, .. } => now < acknowledged + terms.ttd(),
            State::Apart { .. } | State::Replaced => false,
        }
    }

    /// A connect that was sent at `sent` was granted.
    pub fn connected(&mut self, terms: LeaseTerms, sent: Timestamp) {
        self.backoff.reset();
        self.state = State::Joined {
            terms,
            acknowledged: sent,
            next_beat: sent + terms.heartbeat_interval(),
        };
    }

    /// The data changed: connect again now.
    pub fn changed(&mut self, now: Timestamp) {
        if !matches!(self.state, State::Replaced) {
            self.state = State::Apart { next_try: now };
        }
    }

    /// A beat that was sent at `sent` was answered at `now`.
    pub fn beaten(&mut self, outcome: BeatOutcome, sent: Timestamp, now: Timestamp) {
        let State::Joined { terms, .. } = self.state else {
            return;
        };
        match outcome {
            BeatOutcome::Superseded => self.state = State::Replaced,
            BeatOutcome::Unknown => self.state = State::Apart { next_try: now },
            // The judge counts from when it took the beat, which is not before
            // it was sent: counting from there is the safe side.
            BeatOutcome::Renewed | BeatOutcome::Revived => self.connected(terms, sent),
        }
    }

    /// A connect or a beat failed, or was not answered in time.
    pub fn failed(&mut self, now: Timestamp, retry_after: Option<Duration>) {
        let asked = retry_after.unwrap_or_default();
        match &mut self.state {
            // A beat is due again soon, but not later than the usual one.
            State::Joined { terms, acknowledged, next_beat }
                if now < *acknowledged + terms.ttd() =>
            {
                let usual = terms.heartbeat_interval();
                *next_beat = now + self.backoff.next_delay_within(usual).max(asked).min(usual);
            }
            State::Apart { .. } | State::Joined { .. } => {
                let next_try = now + self.backoff.next_delay().max(asked);
                self.state = State::Apart { next_try };
            }
            State::Replaced => {}
        }
    }

    /// A connect was refused because a newer epoch is live.
    pub fn replaced(&mut self) {
        self.state = State::Replaced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn terms() -> LeaseTerms {
        LeaseTerms::new(Duration::from_millis(300), Duration::from_millis(900)).unwrap()
    }

    #[test]
    fn beats_every_third_of_the_ttl_and_reconnects_when_unknown() {
        let mut session = Session::new(1);
        assert_eq!(session.step(at(0)), Step::Connect);
        session.connected(terms(), at(0));
        assert_eq!(session.step(at(99)), Step::Wait(at(100)));
        assert_eq!(session.step(at(100)), Step::Beat);
        session.beaten(BeatOutcome::Renewed, at(100), at(110));
        assert_eq!(session.step(at(110)), Step::Wait(at(200)));
        session.beaten(BeatOutcome::Unknown, at(200), at(210));
        assert_eq!(session.step(at(210)), Step::Connect);
        assert_eq!(session.state(at(210)), SessionState::Connecting);
    }

    #[test]
    fn failures_never_end_it_and_silence_is_noticed_after_the_ttl() {
        let mut session = Session::new(1);
        session.connected(terms(), at(0));
        assert_eq!(session.state(at(299)), SessionState::Connected);
        assert_eq!(session.state(at(300)), SessionState::Connecting);
        let mut now = at(100);
        for _ in 0..1000 {
            session.failed(now, None);
            match session.step(now) {
                Step::Wait(next) => {
                    assert!(next.since(now) <= Duration::from_secs(5));
                    now = next;
                }
                Step::Beat => assert!(now < at(900)),
                Step::Connect => assert!(now >= at(900), "it is delisted only now"),
                Step::Stop => panic!("it gave up"),
            }
        }
    }

    #[test]
    fn a_replaced_holder_stops() {
        let mut session = Session::new(1);
        session.connected(terms(), at(0));
        session.beaten(BeatOutcome::Superseded, at(100), at(101));
        session.changed(at(102));
        assert_eq!(session.step(at(200)), Step::Stop);
        assert_eq!(session.state(at(200)), SessionState::Superseded);
    }
}
