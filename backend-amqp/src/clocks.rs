//! Who is alive: the leases as this process keeps them, and what follows.
//!
//! Invariant: nobody is accused of a silence that may be our own. A lease is
//! judged at the horizon, the time until which everything is known to be heard.

use std::time::Duration;

use registry_api::kernel::{Command, Delist, Outcome, Transition};
use registry_api::{BeatOutcome, Epoch, InstanceId, InstanceRef, Presence, Published, Timestamp};

use crate::log::Wrote;
use crate::pursuit::Pursuit;

/// Proposals to delist are made within this: all processes find out at the same
/// time, and one proposal is enough.
const SPREAD_MS: u64 = 40;

/// What time has brought, and what is still to be made of it.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// When a judgement can change next.
    pub(crate) planned: Option<Timestamp>,
    /// A beat brought somebody back.
    revived: bool,
    /// Who is to be delisted, and when that is to be proposed.
    pub(crate) gone: Option<(Timestamp, Vec<Delist>)>,
}

impl Pursuit {
    /// Grants and ends leases as a write that was folded says.
    pub(crate) fn lease(&mut self, wrote: &Wrote) {
        let now = self.replica.clock.now();
        match &wrote.outcome {
            Outcome::Connected(answers) => {
                answers.iter().flatten().for_each(|presence| self.grant(presence, now));
            }
            Outcome::Renewed(answers) => {
                answers.iter().flatten().for_each(|presence| self.grant(presence, now));
            }
            Outcome::Done(_) | Outcome::Registered(_) => {}
        }
    }

    fn grant(&mut self, presence: &Presence, now: Timestamp) {
        let leases = &self.replica.leases;
        let ends = leases.grant(&presence.id, presence.epoch, presence.terms, now);
        self.clocks.planned = self.clocks.planned.into_iter().chain([ends]).min();
    }

    /// Grants everybody's lease anew: what was said meanwhile was not heard.
    pub(crate) fn grant_all(&mut self, now: Timestamp) {
        self.clocks = Clocks::default();
        let Some(folding) = self.log.folding() else { return };
        let lives: Vec<_> = folding.state.catalogue().lives().map(|(p, _)| p.clone()).collect();
        lives.iter().for_each(|presence| self.grant(presence, now));
    }

    /// Takes the beats of another process; what they achieve, it finds out itself.
    pub(crate) fn hear(&mut self, beats: &[(InstanceId, Epoch)]) -> Vec<BeatOutcome> {
        self.take_beats(beats, self.replica.horizon(), self.replica.clock.now())
    }

    /// Takes beats of our own that were sent at `sent`. All that were confirmed
    /// before have been heard.
    pub(crate) fn hear_own(
        &mut self,
        beats: &[(InstanceId, Epoch)],
        sent: Timestamp,
    ) -> Vec<BeatOutcome> {
        self.take_beats(beats, sent, sent)
    }

    fn take_beats(
        &mut self,
        beats: &[(InstanceId, Epoch)],
        known: Timestamp,
        now: Timestamp,
    ) -> Vec<BeatOutcome> {
        let beats = beats.iter().map(|(id, epoch)| (id, *epoch));
        let outcomes = self.replica.leases.hear(beats, known, now);
        self.clocks.revived |= outcomes.contains(&BeatOutcome::Revived);
        outcomes
    }

    /// Tells what time has done up to the horizon.
    pub(crate) fn judge(&mut self) {
        let horizon = self.replica.horizon();
        let due = self.clocks.planned.is_some_and(|planned| planned <= horizon);
        let revived = std::mem::take(&mut self.clocks.revived);
        if !due && !revived {
            return;
        }
        let sweep = self.replica.leases.sweep(horizon);
        self.clocks.planned = sweep.next;
        self.settle(sweep.transitions);
    }

    /// Compares what watchers were told with what is so, one by one.
    pub(crate) fn compare(&mut self) {
        let horizon = self.replica.horizon();
        let Some(folding) = self.log.folding() else { return };
        let (catalogue, history) = (folding.state.catalogue(), folding.state.history());
        let transition = |presence: &Presence| {
            let judgement = self.replica.leases.judge(&presence.id, presence.epoch, horizon);
            Transition::of(presence.reference(), history.told(presence), judgement)
        };
        let transitions = catalogue.lives().filter_map(|(presence, _)| transition(presence));
        let transitions = transitions.collect();
        self.settle(transitions);
    }

    fn settle(&mut self, transitions: Vec<Transition>) {
        let Some(folding) = self.log.folding_mut() else { return };
        let (told, delists) = folding.state.propose(transitions);
        self.dirty |= told;
        if delists.is_empty() {
            return;
        }
        let spread = Duration::from_millis(fastrand::u64(..SPREAD_MS));
        let due = self.replica.clock.now() + spread;
        let (_, gone) = self.clocks.gone.get_or_insert_with(|| (due, Vec::new()));
        gone.extend(delists);
    }

    /// The proposal that is due, unless somebody else has made it.
    pub(crate) fn proposal(&mut self, now: Timestamp) -> Option<Command> {
        let (_, gone) = self.clocks.gone.take_if(|(due, _)| *due <= now)?;
        let catalogue = self.log.folding()?.state.catalogue();
        // As it was judged: who has connected or beaten since is another.
        let stands = |delist: &Delist| {
            let life = InstanceRef { id: delist.id.clone(), epoch: delist.epoch };
            catalogue.delist_command(&life).as_ref() == Some(delist)
        };
        let delists: Vec<_> = gone.into_iter().filter(stands).collect();
        (!delists.is_empty()).then_some(Command::Delist(delists))
    }

    /// When each lease ends, for somebody who knows nothing.
    pub(crate) fn ends(&self) -> Vec<(InstanceId, Epoch, i64)> {
        let now = self.replica.clock.now().as_nanos();
        let end = |(life, deadline): (InstanceRef, Timestamp)| {
            let left = i128::from(deadline.as_nanos()) - i128::from(now);
            (life.id, life.epoch, i64::try_from(left).unwrap_or(i64::MAX))
        };
        self.replica.leases.deadlines().into_iter().map(end).collect()
    }

    /// Takes over when leases end that were granted at `granted`, from somebody
    /// who has heard of them.
    pub(crate) fn adopt(&mut self, ends: Vec<(InstanceId, Epoch, i64)>, granted: Timestamp) {
        let now = self.replica.clock.now();
        for (id, epoch, left) in ends {
            let nanos = now.as_nanos().saturating_add_signed(left);
            let deadline = Timestamp::from_nanos(nanos);
            self.replica.leases.adopt(&InstanceRef { id, epoch }, granted, deadline);
            self.clocks.planned = self.clocks.planned.into_iter().chain([deadline]).min();
        }
    }

    /// Shows what was folded and told since the last time.
    pub(crate) fn show(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let Some(folding) = self.log.folding() else { return };
        let state = folding.state.clone();
        let ended = |life: &InstanceRef| {
            let live = state.catalogue().presence(&life.id);
            live.is_none_or(|live| live.epoch != life.epoch)
        };
        let ended: Vec<_> = self.ended.drain(..).filter(ended).collect();
        match std::mem::take(&mut self.replaced) {
            true => self.replica.replace(state),
            false => self.replica.show(state),
        }
        // Only now: whoever still reads the state before judges by what it knew.
        ended.iter().for_each(|life| self.replica.leases.release(&life.id, life.epoch));
    }

    /// Whether a read has to hear everything first: only then can it tell that
    /// somebody who seems to be silent is.
    pub(crate) fn is_anybody_silent(&self) -> bool {
        let now = self.replica.clock.now();
        let overdue = self.clocks.planned.is_some_and(|planned| planned <= now);
        overdue || self.replica.state().history().tells_of_offline()
    }
}
