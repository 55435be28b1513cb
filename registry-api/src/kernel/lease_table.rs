//! When each instance was last heard of, and what follows from it at `now`.
//!
//! Beats and reads share a lock and touch atomics; only joining, leaving and
//! delisting hold it alone, for the time of one hash-map operation. Nothing here decides
//! who is in the catalogue: a sweep *proposes*.
//!
//! Invariant: every answer follows from the deadline and the `now` it was asked
//! with, never from whether a sweep has run.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::identity::InstanceId;
use crate::instance::{Health, InstanceRef};
use crate::lease::{BeatOutcome, LeaseTerms};
use crate::revision::Epoch;
use crate::time::Timestamp;

/// When each instance was last heard of. Beats and reads share it; the hasher is
/// the backend's choice and must be a keyed one, for ids come from outside.
pub struct LeaseTable<S = RandomState> {
    shards: RwLock<Box<[Shard<S>]>>,
    /// Who was brought back by a beat since the last sweep: a sweep that comes
    /// for what time brings would not look at them.
    revived: Mutex<Vec<InstanceId>>,
}

/// A part of the table, so that growing one map is short.
struct Shard<S> {
    index: HashMap<InstanceId, Held, S>,
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
struct Held {
    epoch: Epoch,
    /// When it goes offline, in nanoseconds.
    deadline: AtomicU64,
    terms: LeaseTerms,
    slot: u32,
}

const VACANT: u64 = u64::MAX;
const SHARDS: usize = 256;

/// What a table says of an instance at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Silent for its ttd, or not there.
    Gone,
    /// Another life of the id holds the lease.
    OtherEpoch(Epoch),
    /// There, and well or not.
    Present(Health),
}

impl Judgement {
    /// What a beat of the life `asked` achieves, where this is said of it.
    #[inline]
    pub fn answer(self, asked: Epoch) -> BeatOutcome {
        match self {
            Self::Present(Health::Online) => BeatOutcome::Renewed,
            Self::Present(Health::Offline) => BeatOutcome::Revived,
            Self::OtherEpoch(live) if asked < live => BeatOutcome::Superseded,
            Self::OtherEpoch(_) | Self::Gone => BeatOutcome::Unknown,
        }
    }
}

/// A judgement that changed since the last sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// To be delisted; the lease is already given up.
    Gone(InstanceRef),
    /// Silent for its ttl.
    Offline(InstanceRef),
    /// Heard of again.
    Online(InstanceRef),
}

impl Transition {
    /// What is to be told of a life that watchers were last told to be `told`.
    pub fn of(life: InstanceRef, told: Health, judgement: Judgement) -> Option<Self> {
        match judgement {
            Judgement::Gone | Judgement::OtherEpoch(_) => Some(Self::Gone(life)),
            Judgement::Present(health) if health == told => None,
            Judgement::Present(Health::Online) => Some(Self::Online(life)),
            Judgement::Present(Health::Offline) => Some(Self::Offline(life)),
        }
    }
}

/// What a sweep found.
#[derive(Debug)]
pub struct Sweep {
    /// What changed.
    pub transitions: Vec<Transition>,
    /// When the next judgement can change without a beat.
    pub next: Option<Timestamp>,
}

impl<S: BuildHasher + Clone> LeaseTable<S> {
    /// An empty table.
    #[allow(clippy::needless_pass_by_value)] // As `HashMap::with_hasher` takes it.
    pub fn with_hasher(hasher: S) -> Self {
        let shard = |_| Shard::new(hasher.clone());
        Self { shards: RwLock::new((0..SHARDS).map(shard).collect()), revived: Mutex::default() }
    }

    /// Grants or renews the lease of a connected instance from `now` on. A
    /// lease of another epoch of the id ends. Returns when it goes offline.
    pub fn grant(
        &self,
        id: &InstanceId,
        epoch: Epoch,
        terms: LeaseTerms,
        now: Timestamp,
    ) -> Timestamp {
        self.write()[place(id)].grant(id, epoch, terms, now);
        now + terms.ttl()
    }

    /// Ends the lease of this life.
    pub fn release(&self, id: &InstanceId, epoch: Epoch) {
        let shard = &mut self.write()[place(id)];
        if shard.index.get(id).is_some_and(|held| held.epoch == epoch) {
            shard.release(id);
        }
    }

    /// Takes a beat that was made at `now`.
    pub fn beat(&self, id: &InstanceId, epoch: Epoch, now: Timestamp) -> BeatOutcome {
        let shards = self.read();
        let (outcome, renewal) = shards[place(id)].beat(id, epoch, now);
        renewal.into_iter().for_each(Renewal::apply);
        if outcome == BeatOutcome::Revived {
            self.note(vec![id.clone()]);
        }
        outcome
    }

    /// Takes beats that were made at `now`: one outcome each, in order.
    ///
    /// All are looked up before the first is written: a write waits for every
    /// read before it, and the look-ups of a batch are cache misses that can
    /// wait together.
    pub fn beats<'a>(
        &self,
        beats: impl Iterator<Item = (&'a InstanceId, Epoch)>,
        now: Timestamp,
    ) -> Vec<BeatOutcome> {
        let shards = self.read();
        let mut outcomes = Vec::with_capacity(beats.size_hint().0);
        let mut renewals = Vec::with_capacity(beats.size_hint().0);
        let mut revived = Vec::new();
        for (id, epoch) in beats {
            let (outcome, renewal) = shards[place(id)].beat(id, epoch, now);
            if outcome == BeatOutcome::Revived {
                revived.push(id.clone());
            }
            outcomes.push(outcome);
            renewals.extend(renewal);
        }
        renewals.into_iter().for_each(Renewal::apply);
        self.note(revived);
        outcomes
    }

    /// Keeps who came back for the next sweep to tell. Only after the renewal: a
    /// sweep in between would find nothing to tell and forget them.
    fn note(&self, mut revived: Vec<InstanceId>) {
        if !revived.is_empty() {
            self.revived.lock().unwrap_or_else(PoisonError::into_inner).append(&mut revived);
        }
    }

    /// Judges one life at `now`.
    pub fn judge(&self, id: &InstanceId, epoch: Epoch, now: Timestamp) -> Judgement {
        self.read()[place(id)].judge(id, epoch, now)
    }

    /// Gives up the leases of these ids that are over at `now`, so that a write
    /// about one of them meets the registry as a read would show it.
    pub fn expire<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a InstanceId>,
        now: Timestamp,
    ) -> Vec<Transition> {
        let over = |id: &&InstanceId| self.read()[place(id)].is_over(id, now);
        let ids = ids.into_iter().filter(over);
        ids.filter_map(|id| self.write()[place(id)].expire(id, now)).collect()
    }

    /// Compares every lease with what was told before and says what changed.
    ///
    /// Leases that are over are given up here, under the lock that beats take:
    /// no beat that is answered `Renewed` can be lost. One sweep at a time: what
    /// it finds must be told in the order it was found.
    pub fn sweep(&self, now: Timestamp) -> Sweep {
        let mut sweep = Sweep { transitions: Vec::new(), next: None };
        let revived =
            std::mem::take(&mut *self.revived.lock().unwrap_or_else(PoisonError::into_inner));
        for id in revived {
            sweep.transitions.extend(self.read()[place(&id)].revived(&id, now));
        }
        for place in 0..SHARDS {
            // One at a time: others join and leave in between.
            let gone = self.read()[place].scan(now, &mut sweep);
            if !gone.is_empty() {
                let shard = &mut self.write()[place];
                let expired = gone.iter().filter_map(|id| shard.expire(id, now));
                sweep.transitions.extend(expired);
            }
        }
        sweep
    }

    /// The number of leases.
    pub fn len(&self) -> usize {
        self.read().iter().map(|shard| shard.index.len()).sum()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // A panic under the lock leaves no half-made change worth refusing to serve
    // for: every method updates its fields in an order that stays readable.
    fn read(&self) -> RwLockReadGuard<'_, Box<[Shard<S>]>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Box<[Shard<S>]>> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard of an id. Cheap and not keyed: who crowds one shard on purpose
/// gets one larger map, whose own hasher is keyed.
#[inline]
fn place(id: &InstanceId) -> usize {
    let tail = id.as_bytes().last_chunk::<4>().copied().unwrap_or_default();
    (u32::from_le_bytes(tail).wrapping_mul(0x9E37_79B1) >> 24) as usize % SHARDS
}

/// A deadline to be moved.
struct Renewal<'a> {
    deadline: &'a AtomicU64,
    until: u64,
}

impl Renewal<'_> {
    /// Two beats can overtake each other; the later one counts.
    fn apply(self) {
        self.deadline.fetch_max(self.until, Ordering::AcqRel);
    }
}

impl Held {
    #[inline]
    fn judge(&self, now: Timestamp) -> Judgement {
        let (now, deadline) = (now.as_nanos(), self.deadline.load(Ordering::Acquire));
        if now < deadline {
            Judgement::Present(Health::Online)
        } else if now < self.over(deadline) {
            Judgement::Present(Health::Offline)
        } else {
            Judgement::Gone
        }
    }

    /// When it is delisted, counted from the same last beat as `deadline`.
    fn over(&self, deadline: u64) -> u64 {
        deadline.saturating_add(self.terms.lingering_nanos())
    }
}

impl<S: BuildHasher> Shard<S> {
    fn new(hasher: S) -> Self {
        Self {
            index: HashMap::with_hasher(hasher),
            due: Vec::new(),
            told_offline: Vec::new(),
            holders: Vec::new(),
            free: Vec::new(),
        }
    }

    #[inline]
    fn beat(
        &self,
        id: &InstanceId,
        epoch: Epoch,
        now: Timestamp,
    ) -> (BeatOutcome, Option<Renewal<'_>>) {
        let Some(held) = self.index.get(id) else {
            return (BeatOutcome::Unknown, None);
        };
        let judgement = match epoch == held.epoch {
            true => held.judge(now),
            false => Judgement::OtherEpoch(held.epoch),
        };
        let outcome = judgement.answer(epoch);
        if !matches!(judgement, Judgement::Present(_)) {
            return (outcome, None);
        }
        let until = now.as_nanos().saturating_add(held.terms.ttl_nanos());
        (outcome, Some(Renewal { deadline: &held.deadline, until }))
    }

    fn judge(&self, id: &InstanceId, epoch: Epoch, now: Timestamp) -> Judgement {
        match self.index.get(id) {
            None => Judgement::Gone,
            Some(held) if held.epoch != epoch => Judgement::OtherEpoch(held.epoch),
            Some(held) => held.judge(now),
        }
    }

    fn grant(&mut self, id: &InstanceId, epoch: Epoch, terms: LeaseTerms, now: Timestamp) {
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

    fn add_slot(&mut self) -> u32 {
        let slot = self.due.len() as u32;
        self.due.push(AtomicU64::new(VACANT));
        self.told_offline.push(AtomicBool::new(false));
        self.holders.push(None);
        slot
    }

    fn release(&mut self, id: &InstanceId) -> Option<InstanceRef> {
        let held = self.index.remove(id)?;
        let place = held.slot as usize;
        *self.due[place].get_mut() = VACANT;
        self.free.push(held.slot);
        self.holders[place].take()
    }

    /// Tells that a beat brought it back, if it was told to be offline.
    fn revived(&self, id: &InstanceId, now: Timestamp) -> Option<Transition> {
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
    fn scan(&self, now: Timestamp, sweep: &mut Sweep) -> Vec<InstanceId> {
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
    fn look(
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
    fn expire(&mut self, id: &InstanceId, now: Timestamp) -> Option<Transition> {
        if self.is_over(id, now) {
            return self.release(id).map(Transition::Gone);
        }
        // A beat that read the clock earlier came in between: look again.
        let held = self.index.get(id)?;
        let deadline = held.deadline.load(Ordering::Acquire);
        self.due[held.slot as usize].store(deadline, Ordering::Relaxed);
        None
    }

    fn is_over(&self, id: &InstanceId, now: Timestamp) -> bool {
        self.index.get(id).is_some_and(|held| held.judge(now) == Judgement::Gone)
    }
}

impl<S> Debug for LeaseTable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseTable")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    fn table() -> LeaseTable {
        let table = LeaseTable::with_hasher(RandomState::new());
        let terms = LeaseTerms::new(Duration::from_millis(30), Duration::from_millis(90)).unwrap();
        table.grant(&id("a"), Epoch(1), terms, at(0));
        table
    }

    #[test]
    fn judgements_are_exact_without_any_sweep() {
        let table = table();
        let judge = |ms| table.judge(&id("a"), Epoch(1), at(ms));
        assert_eq!(judge(29), Judgement::Present(Health::Online));
        assert_eq!(judge(30), Judgement::Present(Health::Offline));
        assert_eq!(judge(89), Judgement::Present(Health::Offline));
        assert_eq!(judge(90), Judgement::Gone);
        assert_eq!(table.beat(&id("a"), Epoch(1), at(90)), BeatOutcome::Unknown);
    }

    #[test]
    fn a_sweep_tells_each_transition_once_and_when_to_come_again() {
        let table = table();
        let reference = InstanceRef { id: id("a"), epoch: Epoch(1) };
        let sweep = |ms| {
            let sweep = table.sweep(at(ms));
            (sweep.transitions, sweep.next)
        };
        assert_eq!(sweep(10), (vec![], Some(at(30))));
        let offline = Transition::Offline(reference.clone());
        assert_eq!(sweep(30), (vec![offline], Some(at(90))));
        assert_eq!(sweep(40), (vec![], Some(at(90))));
        assert_eq!(table.beat(&id("a"), Epoch(1), at(50)), BeatOutcome::Revived);
        let online = Transition::Online(reference.clone());
        assert_eq!(sweep(50), (vec![online], Some(at(80))));
        assert_eq!(sweep(140), (vec![Transition::Gone(reference)], None));
        assert!(table.is_empty());
    }

    #[test]
    fn a_beat_that_overtakes_a_sweep_keeps_its_lease_under_watch() {
        let table = table();
        let early = Timestamp::ZERO + Duration::from_millis(89);
        let mut sweep = Sweep { transitions: Vec::new(), next: None };
        let shard = place(&id("a"));
        let gone = table.read()[shard].scan(at(95), &mut sweep);
        assert_eq!(gone, vec![id("a")]);
        // It read the clock before the lease was over, and is heard only now.
        assert_eq!(table.beat(&id("a"), Epoch(1), early), BeatOutcome::Revived);
        assert_eq!(table.write()[shard].expire(&id("a"), at(95)), None);
        assert_eq!(table.sweep(at(96)).next, Some(at(119)));
        assert_eq!(table.sweep(at(119)).transitions.len(), 1, "it goes offline in its time");
    }

    #[test]
    fn beats_of_other_lives_change_nothing() {
        let table = table();
        assert_eq!(table.beat(&id("a"), Epoch(0), at(20)), BeatOutcome::Superseded);
        assert_eq!(table.beat(&id("a"), Epoch(2), at(20)), BeatOutcome::Unknown);
        assert_eq!(table.beat(&id("b"), Epoch(1), at(20)), BeatOutcome::Unknown);
        let judgement = table.judge(&id("a"), Epoch(1), at(30));
        assert_eq!(judgement, Judgement::Present(Health::Offline));
    }
}
