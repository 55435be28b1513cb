//! When each instance was last heard of, and what follows from it at `now`.
//!
//! Beats and reads take a shared lock on one of many shards and touch atomics;
//! only joining, leaving and delisting lock a shard alone. Nothing here decides
//! who is in the catalogue: a sweep *proposes*.
//!
//! Invariant: every answer follows from the deadline and the `now` it was asked
//! with, never from whether a sweep has run.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::identity::InstanceId;
use crate::instance::{Health, InstanceRef};
use crate::lease::{BeatOutcome, LeaseTerms};
use crate::revision::Epoch;
use crate::time::Timestamp;

/// See the [module](self). The hasher is the backend's choice; ids come from
/// outside, so it must be a keyed one.
pub struct LeaseTable<S = RandomState> {
    shards: Box<[Padded<RwLock<Shard<S>>>]>,
    hasher: S,
}

/// A lock on cache lines of its own, so that shards do not slow each other.
#[repr(align(128))]
struct Padded<T>(T);

struct Shard<S> {
    index: HashMap<InstanceId, Held, S>,
    /// Per slot: the time it goes offline, [`VACANT`] for a free slot. Dense,
    /// because a sweep reads all of them.
    deadlines: Vec<AtomicU64>,
    /// Per slot: whether a sweep has already told that it is offline.
    told_offline: Vec<AtomicBool>,
    holders: Vec<Option<InstanceRef>>,
    free: Vec<u32>,
}

/// What is known of an instance; one cache line together with its key.
struct Held {
    epoch: Epoch,
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
    pub fn with_hasher(hasher: S) -> Self {
        let shard = || Padded(RwLock::new(Shard::new(hasher.clone())));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher }
    }

    /// Grants or renews the lease of a connected instance from `now` on. A
    /// lease of another epoch of the id ends.
    pub fn grant(&self, id: &InstanceId, epoch: Epoch, terms: LeaseTerms, now: Timestamp) {
        self.write(id).grant(id, epoch, terms, now);
    }

    /// Ends the lease of this life.
    pub fn release(&self, id: &InstanceId, epoch: Epoch) {
        let mut shard = self.write(id);
        if shard.index.get(id).is_some_and(|held| held.epoch == epoch) {
            shard.release(id);
        }
    }

    /// Takes a beat that was made at `now`.
    pub fn beat(&self, id: &InstanceId, epoch: Epoch, now: Timestamp) -> BeatOutcome {
        let shard = self.read(id);
        let Some(held) = shard.index.get(id) else {
            return BeatOutcome::Unknown;
        };
        if epoch < held.epoch {
            return BeatOutcome::Superseded;
        }
        let deadline = &shard.deadlines[held.slot as usize];
        let health = held.judge(Timestamp::from_nanos(deadline.load(Ordering::Acquire)), now);
        let outcome = match health {
            _ if epoch > held.epoch => return BeatOutcome::Unknown,
            Judgement::Gone | Judgement::OtherEpoch(_) => return BeatOutcome::Unknown,
            Judgement::Present(Health::Online) => BeatOutcome::Renewed,
            Judgement::Present(Health::Offline) => BeatOutcome::Revived,
        };
        // Two beats can overtake each other; the later one counts.
        let renewed = now + held.terms.ttl();
        deadline.fetch_max(renewed.as_nanos(), Ordering::AcqRel);
        outcome
    }

    /// Judges one life at `now`.
    pub fn judge(&self, id: &InstanceId, epoch: Epoch, now: Timestamp) -> Judgement {
        let shard = self.read(id);
        let Some(held) = shard.index.get(id) else {
            return Judgement::Gone;
        };
        if held.epoch != epoch {
            return Judgement::OtherEpoch(held.epoch);
        }
        held.judge(shard.deadline(held.slot), now)
    }

    /// Gives up the leases of these ids that are over at `now`, so that a write
    /// about one of them meets the registry as a read would show it.
    pub fn expire<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a InstanceId>,
        now: Timestamp,
    ) -> Vec<Transition> {
        let over = |id: &&InstanceId| self.read(id).is_over(id, now);
        let ids = ids.into_iter().filter(over);
        ids.filter_map(|id| self.write(id).expire(id, now)).collect()
    }

    /// Compares every lease with what was told before and says what changed.
    ///
    /// Leases that are over are given up here, under the lock that beats take:
    /// no beat that is answered `Renewed` can be lost.
    pub fn sweep(&self, now: Timestamp) -> Sweep {
        let mut sweep = Sweep { transitions: Vec::new(), next: None };
        for Padded(shard) in &self.shards {
            let gone = read(shard).scan(now, &mut sweep);
            if !gone.is_empty() {
                let mut shard = write(shard);
                for id in gone {
                    sweep.transitions.extend(shard.expire(&id, now));
                }
            }
        }
        sweep
    }

    /// The number of leases.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(&shard.0).index.len()).sum()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, id: &InstanceId) -> &RwLock<Shard<S>> {
        // The map uses the low bits; the high ones choose the shard.
        let hash = self.hasher.hash_one(id);
        &self.shards[(hash >> 56) as usize % SHARDS].0
    }

    fn read(&self, id: &InstanceId) -> RwLockReadGuard<'_, Shard<S>> {
        read(self.shard(id))
    }

    fn write(&self, id: &InstanceId) -> RwLockWriteGuard<'_, Shard<S>> {
        write(self.shard(id))
    }
}

// A panic while a shard is locked leaves no half-made change worth refusing to
// serve for: every method updates its fields in an order that stays readable.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    fn judge(&self, deadline: Timestamp, now: Timestamp) -> Judgement {
        if now < deadline {
            Judgement::Present(Health::Online)
        } else if now < deadline + self.lingering() {
            Judgement::Present(Health::Offline)
        } else {
            Judgement::Gone
        }
    }

    /// How long it stays listed after going offline.
    fn lingering(&self) -> Duration {
        self.terms.ttd() - self.terms.ttl()
    }
}

impl<S: BuildHasher> Shard<S> {
    fn new(hasher: S) -> Self {
        Self {
            index: HashMap::with_hasher(hasher),
            deadlines: Vec::new(),
            told_offline: Vec::new(),
            holders: Vec::new(),
            free: Vec::new(),
        }
    }

    fn deadline(&self, slot: u32) -> Timestamp {
        Timestamp::from_nanos(self.deadlines[slot as usize].load(Ordering::Acquire))
    }

    fn grant(&mut self, id: &InstanceId, epoch: Epoch, terms: LeaseTerms, now: Timestamp) {
        let deadline = (now + terms.ttl()).as_nanos();
        self.release(id);
        let slot = self.free.pop().unwrap_or_else(|| self.add_slot());
        let place = slot as usize;
        *self.deadlines[place].get_mut() = deadline;
        *self.told_offline[place].get_mut() = false;
        self.holders[place] = Some(InstanceRef { id: id.clone(), epoch });
        self.index.insert(id.clone(), Held { epoch, terms, slot });
    }

    fn add_slot(&mut self) -> u32 {
        let slot = self.deadlines.len() as u32;
        self.deadlines.push(AtomicU64::new(VACANT));
        self.told_offline.push(AtomicBool::new(false));
        self.holders.push(None);
        slot
    }

    fn release(&mut self, id: &InstanceId) -> Option<InstanceRef> {
        let held = self.index.remove(id)?;
        let place = held.slot as usize;
        *self.deadlines[place].get_mut() = VACANT;
        self.free.push(held.slot);
        self.holders[place].take()
    }

    /// Tells what changed and returns whose lease is over.
    fn scan(&self, now: Timestamp, sweep: &mut Sweep) -> Vec<InstanceId> {
        let mut gone = Vec::new();
        let mut earliest = VACANT;
        for (place, deadline) in self.deadlines.iter().enumerate() {
            let deadline = deadline.load(Ordering::Acquire);
            let told = &self.told_offline[place];
            if deadline > now.as_nanos() {
                earliest = earliest.min(deadline);
                if told.load(Ordering::Relaxed) && deadline != VACANT {
                    told.store(false, Ordering::Relaxed);
                    let holder = self.holders[place].clone();
                    sweep.transitions.extend(holder.map(Transition::Online));
                }
                continue;
            }
            let Some(holder) = &self.holders[place] else {
                continue;
            };
            let Some(held) = self.index.get(&holder.id) else {
                continue;
            };
            let over = Timestamp::from_nanos(deadline) + held.lingering();
            if over <= now {
                gone.push(holder.id.clone());
                continue;
            }
            earliest = earliest.min(over.as_nanos());
            if !told.swap(true, Ordering::Relaxed) {
                sweep.transitions.push(Transition::Offline(holder.clone()));
            }
        }
        let earliest = (earliest != VACANT).then(|| Timestamp::from_nanos(earliest));
        sweep.next = sweep.next.into_iter().chain(earliest).min();
        gone
    }

    /// Gives the lease up if it is still over.
    fn expire(&mut self, id: &InstanceId, now: Timestamp) -> Option<Transition> {
        let released = self.is_over(id, now).then(|| self.release(id))?;
        released.map(Transition::Gone)
    }

    fn is_over(&self, id: &InstanceId, now: Timestamp) -> bool {
        let held = self.index.get(id);
        held.is_some_and(|held| held.judge(self.deadline(held.slot), now) == Judgement::Gone)
    }
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
    fn beats_of_other_lives_change_nothing() {
        let table = table();
        assert_eq!(table.beat(&id("a"), Epoch(0), at(20)), BeatOutcome::Superseded);
        assert_eq!(table.beat(&id("a"), Epoch(2), at(20)), BeatOutcome::Unknown);
        assert_eq!(table.beat(&id("b"), Epoch(1), at(20)), BeatOutcome::Unknown);
        let judgement = table.judge(&id("a"), Epoch(1), at(30));
        assert_eq!(judgement, Judgement::Present(Health::Offline));
    }
}
