//! One shard of the table: deadlines, and what a sweep has told of them.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Judgement, Sweep, Transition};
use crate::identity::InstanceId;
use crate::instance::{Health, InstanceRef};
use crate::lease::{BeatOutcome, LeaseTerms};
use crate::revision::Epoch;
use crate::time::Timestamp;

/// A part of the table, so that growing one map is short.
pub(super) struct Shard<S> {
    pub(super) index: HashMap<InstanceId, Held, S>,
    /// Per slot: when a sweep has to look at it again, [`VACANT`] for a free
    /// slot. Never later than its next transition; beats do not touch it. Dense,
    /// because a sweep reads all of them.
    due: Vec<AtomicU64>,
    /// Per slot: whether a sweep has told that it is offline.
    told_offline: Vec<AtomicBool>,
    holders: Vec<Option<InstanceRef>>,
    free: Vec<u32>,
}

/// What is known of an instance, next to its key: a beat touches nothing else.
pub(super) struct Held {
    pub(super) epoch: Epoch,
    /// When it goes offline, in nanoseconds.
    pub(super) deadline: AtomicU64,
    terms: LeaseTerms,
    slot: u32,
}

/// The deadline of a free slot.
const VACANT: u64 = u64::MAX;

/// A deadline to be moved.
pub(super) struct Renewal<'a> {
    deadline: &'a AtomicU64,
    until: u64,
}

impl Renewal<'_> {
    /// Two beats can overtake each other; the later one counts.
    pub(super) fn apply(self) {
        self.deadline.fetch_max(self.until, Ordering::AcqRel);
    }
}

impl Held {
    #[inline]
    pub(super) fn judge(&self, now: Timestamp) -> Judgement {
        let (now, deadline) = (now.as_nanos(), self.deadline.load(Ordering::Acquire));
        if now < deadline {
            Judgement::Present(Health::Online)
        } else if now < self.over(deadline) {
            Judgement::Present(Health::Offline)
        } else {
            Judgement::Gone
        }
    }

    pub(super) fn is_contested(&self, lag: Duration, now: Timestamp) -> bool {
        let lag = lag.min(self.terms.ttd() / 3).as_nanos() as u64;
        let over = self.over(self.deadline.load(Ordering::Acquire));
        now.as_nanos().saturating_add(lag) >= over
    }

    /// When it is delisted, counted from the same last beat as `deadline`.
    pub(super) fn over(&self, deadline: u64) -> u64 {
        deadline.saturating_add(self.terms.lingering_nanos())
    }
}

impl<S: BuildHasher> Shard<S> {
    pub(super) fn new(hasher: S) -> Self {
        Self {
            index: HashMap::with_hasher(hasher),
            due: Vec::new(),
            told_offline: Vec::new(),
            holders: Vec::new(),
            free: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn beat(
        &self,
        id: &InstanceId,
        epoch: Epoch,
        known: Timestamp,
        now: Timestamp,
    ) -> (BeatOutcome, Option<Renewal<'_>>) {
        let Some(held) = self.index.get(id) else {
            return (BeatOutcome::Unknown, None);
        };
        let judgement = match epoch == held.epoch {
            true => held.judge(known),
            false => Judgement::OtherEpoch(held.epoch),
        };
        let outcome = judgement.answer(epoch);
        if !matches!(judgement, Judgement::Present(_)) {
            return (outcome, None);
        }
        let until = now.as_nanos().saturating_add(held.terms.ttl_nanos());
        (outcome, Some(Renewal { deadline: &held.deadline, until }))
    }

    pub(super) fn judge(&self, id: &InstanceId, epoch: Epoch, now: Timestamp) -> Judgement {
        match self.index.get(id) {
            None => Judgement::Gone,
            Some(held) if held.epoch != epoch => Judgement::OtherEpoch(held.epoch),
            Some(held) => held.judge(now),
        }
    }

    pub(super) fn grant(
        &mut self,
        id: &InstanceId,
        epoch: Epoch,
        terms: LeaseTerms,
        now: Timestamp,
    ) {
        self.release(id);
        let slot = self.free.pop().unwrap_or_else(|| self.add_slot());
        let place = slot as usize;
        let deadline = now.as_nanos().saturating_add(terms.ttl_nanos());
        *self.due[place].get_mut() = deadline;
        *self.told_offline[place].get_mut() = false;
        self.holders[place] = Some(InstanceRef { id: id.clone(), epoch });
        let held = Held { epoch, deadline: AtomicU64::new(deadline), terms, slot };
        self.index.insert(id.clone(), held);
    }

    pub(super) fn add_slot(&mut self) -> u32 {
        let slot = self.due.len() as u32;
        self.due.push(AtomicU64::new(VACANT));
        self.told_offline.push(AtomicBool::new(false));
        self.holders.push(None);
        slot
    }

    pub(super) fn release(&mut self, id: &InstanceId) -> Option<InstanceRef> {
        let held = self.index.remove(id)?;
        let place = held.slot as usize;
        *self.due[place].get_mut() = VACANT;
        self.free.push(held.slot);
        self.holders[place].take()
    }

    pub(super) fn adopt(&self, life: &InstanceRef, granted: Timestamp, deadline: Timestamp) {
        let Some(held) = self.index.get(&life.id).filter(|held| held.epoch == life.epoch) else {
            return;
        };
        let unheard = granted.as_nanos().saturating_add(held.terms.ttl_nanos());
        let until = deadline.as_nanos().min(unheard);
        let adopted =
            held.deadline.compare_exchange(unheard, until, Ordering::AcqRel, Ordering::Relaxed);
        if adopted.is_ok() {
            self.due[held.slot as usize].fetch_min(until, Ordering::Relaxed);
        }
    }

    /// Tells that a beat brought it back, if it was told to be offline.
    pub(super) fn revived(&self, id: &InstanceId, now: Timestamp) -> Option<Transition> {
        let held = self.index.get(id)?;
        let place = held.slot as usize;
        let online = held.judge(now) == Judgement::Present(Health::Online);
        if !online || !self.told_offline[place].swap(false, Ordering::Relaxed) {
            return None;
        }
        self.due[place].store(held.deadline.load(Ordering::Acquire), Ordering::Relaxed);
        self.holders[place].clone().map(Transition::Online)
    }

    /// Looks at what is due, tells what changed and returns whose lease is over.
    pub(super) fn scan(&self, now: Timestamp, sweep: &mut Sweep) -> Vec<InstanceId> {
        let mut gone = Vec::new();
        let mut earliest = VACANT;
        for (place, due) in self.due.iter().enumerate() {
            let mut next = due.load(Ordering::Relaxed);
            if next <= now.as_nanos() {
                next = self.look(place, now, sweep, &mut gone);
                due.store(next, Ordering::Relaxed);
            }
            earliest = earliest.min(next);
        }
        let earliest = (earliest != VACANT).then(|| Timestamp::from_nanos(earliest));
        sweep.next = sweep.next.into_iter().chain(earliest).min();
        gone
    }

    /// Judges one slot and says when to look again.
    pub(super) fn look(
        &self,
        place: usize,
        now: Timestamp,
        sweep: &mut Sweep,
        gone: &mut Vec<InstanceId>,
    ) -> u64 {
        let found = self.holders[place].as_ref();
        let found = found.and_then(|holder| Some((holder, self.index.get(&holder.id)?)));
        let Some((holder, held)) = found else {
            return VACANT;
        };
        let deadline = held.deadline.load(Ordering::Acquire);
        let told = &self.told_offline[place];
        match held.judge(now) {
            Judgement::Present(Health::Online) => {
                // A beat that overtook this sweep; its own note finds nothing more to tell.
                if told.swap(false, Ordering::Relaxed) {
                    sweep.transitions.push(Transition::Online(holder.clone()));
                }
                deadline
            }
            Judgement::Present(Health::Offline) => {
                if !told.swap(true, Ordering::Relaxed) {
                    sweep.transitions.push(Transition::Offline(holder.clone()));
                }
                held.over(deadline)
            }
            Judgement::Gone | Judgement::OtherEpoch(_) => {
                gone.push(holder.id.clone());
                VACANT
            }
        }
    }

    /// Gives the lease up if it is still over.
    pub(super) fn expire(&mut self, id: &InstanceId, now: Timestamp) -> Option<Transition> {
        if self.is_over(id, now) {
            return self.release(id).map(Transition::Gone);
        }
        // A beat that read the clock earlier came in between: look again.
        let held = self.index.get(id)?;
        let deadline = held.deadline.load(Ordering::Acquire);
        self.due[held.slot as usize].store(deadline, Ordering::Relaxed);
        None
    }

    pub(super) fn is_over(&self, id: &InstanceId, now: Timestamp) -> bool {
        self.index.get(id).is_some_and(|held| held.judge(now) == Judgement::Gone)
    }
}
