//! When each instance was last heard of, and what follows from it at `now`.
//!
//! Beats and reads share a lock and touch atomics; only joining, leaving and
//! delisting hold it alone, for the time of one hash-map operation. Nothing here decides
//! who is in the catalogue: a sweep *proposes*.
//!
//! Invariant: every answer follows from the deadline and the `now` it was asked
//! with, never from whether a sweep has run.

mod shard;

use std::fmt::{self, Debug};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use self::shard::{Held, Renewal, Shard};
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
        let (outcome, renewal) = shards[place(id)].beat(id, epoch, now, now);
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
        self.hear(beats, now, now)
    }

    /// Takes beats that are heard of at `now` by somebody who knows of all that
    /// were made until `known`, and of no later one: whether a lease is over is
    /// judged at `known`, and what is not over goes on from `now`.
    pub fn hear<'a>(
        &self,
        beats: impl Iterator<Item = (&'a InstanceId, Epoch)>,
        known: Timestamp,
        now: Timestamp,
    ) -> Vec<BeatOutcome> {
        let shards = self.read();
        let mut outcomes = Vec::with_capacity(beats.size_hint().0);
        let mut renewals = Vec::with_capacity(beats.size_hint().0);
        let mut revived = Vec::new();
        for (id, epoch) in beats {
            let (outcome, renewal) = shards[place(id)].beat(id, epoch, known, now);
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

    /// Whether the end of a lease is so near at `now`, or past, that somebody
    /// whose news is as old as `lag` may have proposed to delist the life. A
    /// holder that keeps to its interval never gets there.
    pub fn is_contested(
        &self,
        id: &InstanceId,
        epoch: Epoch,
        lag: Duration,
        now: Timestamp,
    ) -> bool {
        let held = |held: &Held| held.epoch == epoch && held.is_contested(lag, now);
        self.read()[place(id)].index.get(id).is_some_and(held)
    }

    /// When each lease goes offline unless it is renewed.
    pub fn deadlines(&self) -> Vec<(InstanceRef, Timestamp)> {
        let shards = self.read();
        let held = shards.iter().flat_map(|shard| &shard.index);
        let deadline = |(id, held): (&InstanceId, &Held)| {
            let deadline = Timestamp::from_nanos(held.deadline.load(Ordering::Acquire));
            (InstanceRef { id: id.clone(), epoch: held.epoch }, deadline)
        };
        held.map(deadline).collect()
    }

    /// Takes over when a life goes offline from somebody who heard all of its
    /// beats, where this table only knows that it was granted at `granted`. A
    /// life that was heard of since keeps what it has.
    pub fn adopt(&self, life: &InstanceRef, granted: Timestamp, deadline: Timestamp) {
        self.read()[place(&life.id)].adopt(life, granted, deadline);
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

impl<S> Debug for LeaseTable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseTable")
    }
}

#[cfg(test)]
mod tests {
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
    fn who_hears_late_accuses_nobody_of_what_it_has_not_heard() {
        let table = table();
        let (a, ms) = (id("a"), Duration::from_millis);
        let heard = |known, now| table.hear([(&a, Epoch(1))].into_iter(), at(known), at(now))[0];
        // Heard long after it was over, by somebody who knows nothing since.
        assert_eq!(heard(20, 500), BeatOutcome::Renewed);
        assert_eq!(table.judge(&a, Epoch(1), at(520)), Judgement::Present(Health::Online));
        assert!(!table.is_contested(&a, Epoch(1), ms(1000), at(559)), "a third of the ttd at most");
        assert!(table.is_contested(&a, Epoch(1), ms(1000), at(560)));
        assert!(!table.is_contested(&a, Epoch(1), ms(10), at(560)));
    }

    #[test]
    fn deadlines_are_adopted_by_whoever_heard_nothing_itself() {
        let (heard, fresh) = (table(), table());
        let life = InstanceRef { id: id("a"), epoch: Epoch(1) };
        assert_eq!(heard.deadlines(), [(life.clone(), at(30))]);
        let terms = LeaseTerms::new(Duration::from_millis(30), Duration::from_millis(90)).unwrap();
        fresh.grant(&life.id, life.epoch, terms, at(20));
        assert_eq!(fresh.sweep(at(20)).next, Some(at(50)));
        fresh.adopt(&life, at(20), at(30));
        assert_eq!(fresh.sweep(at(29)).next, Some(at(30)));
        assert_eq!(fresh.sweep(at(30)).transitions, [Transition::Offline(life.clone())]);
        fresh.beat(&life.id, life.epoch, at(40));
        fresh.adopt(&life, at(20), at(30));
        assert_eq!(fresh.deadlines(), [(life, at(70))], "a beat of its own counts");
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
