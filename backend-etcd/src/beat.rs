//! Beats: two renewals at most for each, and one question for many: whether what
//! the leases are to keep is there at all. etcd is known to renew leases that it
//! has revoked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use etcd_client::TxnOp;
use futures_util::future::{join_all, try_join_all};
use registry_api::kernel::Judgement;
use registry_api::{Beat, BeatOutcome, Epoch, InstanceId, Result};

use crate::fault::Failed;
use crate::hints::Hint;
use crate::leases::Granted;
use crate::presence::Presences;
use crate::read::{Wanted, mod_revision};
use crate::record::{self, Commit, Holder};
use crate::store::put_on;
use crate::tries::in_the_way;

/// How often what is known is read anew before somebody is told to try later.
const ROUNDS: usize = 4;
/// Revivals under way at the same time.
const AT_ONCE: usize = 32;

/// An instance, and which lives of it are said to be alive.
type Asked<'a> = (&'a InstanceId, &'a BTreeSet<Epoch>);

/// The live epoch of an instance, and what is to be said of it.
type Standing = (Epoch, Judgement);

/// What is stored of an instance.
struct Stored {
    holder: Option<(Holder, i64, u64)>,
    alive: Option<i64>,
    /// All it offers is there.
    is_complete: bool,
}

/// Which of its leases could be renewed.
#[derive(Clone, Copy, Default)]
struct Renewed {
    presence: bool,
    alive: bool,
}

/// What one round found out.
enum Found {
    Standing(Standing),
    /// What was known of it is not so any more.
    Other,
    /// It is there, and was silent for its ttl; the revision of its record.
    Silent(u64),
}

impl Presences {
    /// Renews leases: one outcome per beat, in order.
    pub(crate) async fn beat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let mut asked: BTreeMap<&InstanceId, BTreeSet<Epoch>> = BTreeMap::new();
        for beat in beats {
            asked.entry(&beat.id).or_default().insert(beat.epoch);
        }
        let mut standings: HashMap<&InstanceId, Standing> = HashMap::new();
        for _ in 0..ROUNDS {
            let open = asked.iter().filter(|(id, _)| !standings.contains_key(**id));
            let open: Vec<Asked<'_>> = open.map(|(id, epochs)| (*id, epochs)).collect();
            if open.is_empty() {
                break;
            }
            for ((id, _), standing) in open.iter().zip(self.round(&open).await?) {
                match standing {
                    Some(standing) => drop(standings.insert(id, standing)),
                    None => self.hints.forget(id),
                }
            }
        }
        let answers = beats.iter().map(|beat| {
            let (live, judgement) = standings.get(&beat.id)?;
            let meant = *live == beat.epoch || *judgement == Judgement::Gone;
            let judgement = if meant { *judgement } else { Judgement::OtherEpoch(*live) };
            Some(judgement.answer(beat.epoch))
        });
        let answers: Option<Vec<_>> = answers.collect();
        answers.ok_or_else(in_the_way)
    }

    /// What can be said of each; `None` where it has to be asked again.
    async fn round(&self, open: &[Asked<'_>]) -> Result<Vec<Option<Standing>>, Failed> {
        let hints = self.known(open).await?;
        let known: Vec<_> = open
            .iter()
            .zip(&hints)
            .filter_map(|(asked, hint)| Some((*asked, hint.as_ref()?)))
            .collect();
        let renewals = known.iter().map(|((_, epochs), hint)| self.renew(epochs, hint));
        let (stored, renewed) = tokio::join!(self.stored(&known), try_join_all(renewals));
        let judged: Vec<_> = known.iter().zip(&stored?).zip(renewed?).map(judge).collect();
        let mut concluded = Vec::with_capacity(known.len());
        for (known, judged) in known.chunks(AT_ONCE).zip(judged.chunks(AT_ONCE)) {
            let some = known.iter().zip(judged);
            let some = some.map(|(((id, _), hint), found)| self.conclude(id, hint, found));
            concluded.extend(join_all(some.collect::<Vec<_>>()).await);
        }
        let mut concluded = concluded.into_iter();
        let nobody = Some((Epoch::default(), Judgement::Gone));
        hints
            .iter()
            .map(|hint| match hint {
                Some(_) => concluded.next().unwrap_or(Ok(None)),
                None => Ok(nobody),
            })
            .collect()
    }

    /// What is known of each; read where nothing is. `None` is not there.
    async fn known(&self, open: &[Asked<'_>]) -> Result<Vec<Option<Hint>>, Failed> {
        let mut hints: Vec<_> = open.iter().map(|(id, _)| self.hints.get(id)).collect();
        let new = open.iter().zip(&hints).filter(|(_, hint)| hint.is_none());
        let new: Vec<_> = new.map(|((id, _), _)| (*id).clone()).collect();
        if new.is_empty() {
            return Ok(hints);
        }
        let found = self.store.instances(&new).await?.found;
        for (place, (id, _)) in open.iter().enumerate() {
            if let Some(found) = found.get(*id) {
                let hint = Hint::from(found);
                self.hints.set((*id).clone(), hint.clone());
                hints[place] = Some(hint);
            }
        }
        Ok(hints)
    }

    /// Renews the leases of the life that is known, if it is one of those that are
    /// said to be alive.
    async fn renew(&self, epochs: &BTreeSet<Epoch>, hint: &Hint) -> Result<Renewed, Failed> {
        if !epochs.contains(&hint.epoch) {
            return Ok(Renewed::default());
        }
        let (presence, alive) = self.keeper.renew_each(hint.leases).await?;
        Ok(Renewed { presence, alive: alive.unwrap_or(false) })
    }

    /// What is stored of each.
    async fn stored(&self, known: &[(Asked<'_>, &Hint)]) -> Result<Vec<Stored>, Failed> {
        let keys = &self.store.keys;
        let mut wanted = Vec::new();
        for ((id, _), hint) in known {
            wanted.extend([(keys.id(id), Wanted::Value), (keys.alive(id), Wanted::Presence)]);
            let offers = hint.services.iter().map(|service| keys.offer(service, id));
            wanted.extend(offers.map(|key| (key, Wanted::Presence)));
        }
        let mut kvs = self.store.get(&wanted).await?.kvs.into_iter();
        let stored = known.iter().map(|(_, hint)| {
            let holder = kvs
                .next()
                .flatten()
                .and_then(|kv| Some((record::read(kv.value())?, kv.lease(), mod_revision(&kv))));
            let alive = kvs.next().flatten().map(|kv| kv.lease());
            let offers = kvs.by_ref().take(hint.services.len());
            let there = offers.filter(Option::is_some).count();
            Stored { holder, alive, is_complete: there == hint.services.len() }
        });
        Ok(stored.collect())
    }

    async fn conclude(
        &self,
        id: &InstanceId,
        hint: &Hint,
        found: &Found,
    ) -> Result<Option<Standing>, Failed> {
        match found {
            Found::Standing(standing) => Ok(Some(*standing)),
            Found::Other => Ok(None),
            Found::Silent(revision) => {
                let revived = self.revive(id, hint, *revision).await?;
                Ok(revived.then(|| (hint.epoch, record::standing(false))))
            }
        }
    }

    /// Puts an instance online that was silent; whether nobody was in the way.
    async fn revive(&self, id: &InstanceId, hint: &Hint, revision: u64) -> Result<bool, Failed> {
        let Some(seconds) = hint.seconds else { return Ok(false) };
        let mut granted = Granted::new(&self.revoker);
        let lease = granted.lease(seconds);
        granted.make(&self.store).await?;
        let expected = vec![(self.store.keys.id(id), revision)];
        let mut operations = vec![put_on(self.store.keys.alive(id), Vec::new(), lease)];
        operations.extend(self.copies(id, lease).await?);
        match self.store.commit(expected, operations, &Commit::default()).await {
            Ok(Some(_)) => {
                granted.keep();
                self.hints.set(id.clone(), hint.clone().revived(lease));
                Ok(true)
            }
            Ok(None) | Err(Failed::NoLease) => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// What shows an instance that is back to foreign readers.
    async fn copies(&self, id: &InstanceId, lease: i64) -> Result<Vec<TxnOp>, Failed> {
        if self.store.dialects.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.instances(std::slice::from_ref(id)).await?.found;
        let copies = found.get(id).map(|found| self.store.copies(&found.presence));
        let copies = copies.unwrap_or_default().into_iter();
        Ok(copies.map(|(key, value)| put_on(key, value, lease)).collect())
    }
}

/// What is to be said of an instance that is known, by what is stored and what
/// could be renewed.
fn judge(((known, stored), renewed): ((&(Asked<'_>, &Hint), &Stored), Renewed)) -> Found {
    let ((_, epochs), hint) = known;
    let Some((holder, lease, revision)) = &stored.holder else {
        return Found::Standing((hint.epoch, Judgement::Gone));
    };
    if !epochs.contains(&holder.epoch) {
        return Found::Standing((holder.epoch, Judgement::OtherEpoch(holder.epoch)));
    }
    let is_known = holder.epoch == hint.epoch
        && *lease == hint.leases.presence
        && holder.services == hint.services;
    if !is_known {
        return Found::Other;
    }
    // Part of it is gone, or soon will be: it has to connect again.
    if !stored.is_complete || !renewed.presence {
        return Found::Standing((hint.epoch, Judgement::Gone));
    }
    let is_online = hint.seconds.is_none()
        || renewed.alive && stored.alive.is_some() && stored.alive == hint.leases.alive;
    match stored.alive {
        _ if is_online => Found::Standing((hint.epoch, record::standing(true))),
        // Somebody else put it online.
        Some(_) if stored.alive != hint.leases.alive => Found::Other,
        _ => Found::Silent(*revision),
    }
}
