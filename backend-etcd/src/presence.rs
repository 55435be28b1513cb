//! Joining and leaving: one transaction for as many instances as fit.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use registry_api::kernel::{Command, Outcome};
use registry_api::{
    Error, InstanceId, InstanceRef, InstanceSpec, Lease, Presence, Result, Revision,
};

use crate::fault::Failed;
use crate::hints::Hints;
use crate::keeper::Keeper;
use crate::leases::{Granted, Revoker};
use crate::load::{Found, Instances};
use crate::plan::{Kept, Plan};
use crate::read::MOST;
use crate::record::seconds;
use crate::store::Store;
use crate::tries::{Attempt, insist};

/// What writes about instances need.
#[derive(Debug)]
pub(crate) struct Presences {
    pub(crate) store: Arc<Store>,
    pub(crate) keeper: Keeper,
    pub(crate) revoker: Revoker,
    pub(crate) hints: Hints,
}

/// Parts of one call that are written at the same time, each of which asks for up
/// to 32 leases at once: etcd refuses everybody when thousands of requests wait.
const AT_ONCE: usize = 8;
/// The most bytes of the instances of one transaction; etcd takes 1.5 MiB.
const BYTES: usize = 1024 * 1024;

impl Presences {
    /// Joins with these, or updates them. The answers are in order.
    pub(crate) async fn connect(&self, specs: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        let parts = parts(specs, !self.store.dialects.is_empty()).into_iter();
        let written = parts.map(|part| self.connect_part(part)).collect::<Vec<_>>();
        let leases: Vec<_> = stream::iter(written).buffered(AT_ONCE).try_collect().await?;
        Ok(leases.into_iter().flatten().collect())
    }

    /// Leaves.
    pub(crate) async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        let parts = instances.chunks(MOST / 4).map(|part| self.disconnect_part(part));
        let written = parts.collect::<Vec<_>>();
        stream::iter(written).buffered(AT_ONCE).try_collect().await
    }

    fn connect_part<'a>(
        &'a self,
        specs: &'a [InstanceSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<Lease>>>> {
        let whole = async move {
            match insist(|| self.try_connect(specs)).await? {
                Some((outcome, read, written)) => leases(outcome, read, written),
                None if specs.len() < 2 => Err(too_much()),
                None => {
                    let (front, back) = specs.split_at(specs.len() / 2);
                    let mut leases = self.connect_part(front).await?;
                    leases.extend(self.connect_part(back).await?);
                    Ok(leases)
                }
            }
        };
        whole.boxed()
    }

    fn disconnect_part<'a>(&'a self, instances: &'a [InstanceRef]) -> BoxFuture<'a, Result<()>> {
        let whole = async move {
            if insist(|| self.try_disconnect(instances)).await?.is_some() {
                return Ok(());
            }
            if instances.len() < 2 {
                return Err(too_much());
            }
            let (front, back) = instances.split_at(instances.len() / 2);
            self.disconnect_part(front).await?;
            self.disconnect_part(back).await
        };
        whole.boxed()
    }

    async fn try_connect(
        &self,
        specs: &[InstanceSpec],
    ) -> Result<Attempt<(Outcome, Revision, Revision)>, Failed> {
        let before = self.store.instances(&distinct(specs.iter().map(|spec| &spec.id))).await?;
        let mut state = before.state();
        let outcome = state.write(Command::Connect(specs.to_vec()));
        let accepted = distinct(accepted(&outcome));
        let joined = accepted.iter().filter_map(|id| state.catalogue().presence(id));
        let kept = join_all(joined.clone().map(|after| self.kept(&before, after))).await;
        let mut granted = Granted::new(&self.revoker);
        let mut plan = Plan::default();
        for (after, kept) in joined.zip(kept) {
            plan.join(&self.store, before.found.get(&after.id), after, kept?, &mut granted);
        }
        let hints = std::mem::take(&mut plan.hints);
        let attempt = self.finish(&before, plan, granted).await?;
        if let Attempt::Done(_) = attempt {
            hints.into_iter().for_each(|(id, hint)| self.hints.set(id, hint));
        }
        Ok(attempt.map(|revision| (outcome, before.revision, revision)))
    }

    async fn try_disconnect(&self, instances: &[InstanceRef]) -> Result<Attempt<()>, Failed> {
        let ids = distinct(instances.iter().map(|instance| &instance.id));
        let before = self.store.instances(&ids).await?;
        let mut state = before.state();
        state.write(Command::Disconnect(instances.to_vec()));
        let mut plan = Plan::default();
        let left = |id: &&InstanceId| state.catalogue().presence(id).is_none();
        // In the order in which the lives are named, not whatever else has their ids: so
        // their removals are told.
        let is_life = |life: &&InstanceRef| {
            before.found.get(&life.id).is_some_and(|found| found.presence.epoch == life.epoch)
        };
        let lives = distinct(instances.iter().filter(is_life).map(|life| &life.id));
        for found in lives.iter().filter(left).filter_map(|id| before.found.get(id)) {
            plan.leave(&self.store, found);
        }
        let attempt = self.finish(&before, plan, Granted::new(&self.revoker)).await?;
        Ok(attempt.map(drop))
    }

    /// Which leases of a life go on. Connecting renews them.
    async fn kept(&self, before: &Instances, after: &Presence) -> Result<Kept, Failed> {
        let goes_on = |found: &&Found| {
            found.presence.epoch == after.epoch && found.presence.terms == after.terms
        };
        let Some(found) = before.found.get(&after.id).filter(goes_on) else {
            return Ok(Kept::Nothing);
        };
        let (presence, alive) = self.keeper.renew_each(found.leases).await?;
        // Without a second lease: online as long as it is there, or offline.
        let alive = alive.unwrap_or_else(|| seconds(after.terms).1.is_none());
        Ok(match (presence, alive) {
            (true, true) => Kept::Both,
            (true, false) => Kept::Presence,
            (false, _) => Kept::Nothing,
        })
    }

    /// Does what is planned, if the records still are as they were read.
    async fn finish(
        &self,
        before: &Instances,
        plan: Plan,
        mut granted: Granted,
    ) -> Result<Attempt<Revision>, Failed> {
        if plan.operations.len() >= MOST {
            return Ok(Attempt::TooMuch);
        }
        let mut revision = before.revision;
        if !plan.operations.is_empty() {
            granted.make(&self.store).await?;
            let expected = plan.touched.iter();
            let expected = expected.map(|id| (self.store.keys.id(id), before.revision_of(id)));
            let done = self.store.commit(expected.collect(), plan.operations, &plan.commit).await;
            match done {
                Ok(Some(number)) => revision.number = number,
                // A lease ended while it was used.
                Ok(None) | Err(Failed::NoLease) => return Ok(Attempt::Again),
                Err(failed) => return Err(failed),
            }
        }
        granted.keep();
        self.revoker.revoke(plan.replaced);
        Ok(Attempt::Done(revision))
    }
}

fn too_much() -> Error {
    let rule = "must be fewer at once with etcd, which takes 128 operations in a transaction";
    Error::invalid("offers", rule)
}

/// Each id once, in its order.
fn distinct<'a>(ids: impl Iterator<Item = &'a InstanceId>) -> Vec<InstanceId> {
    let mut seen = BTreeSet::new();
    ids.filter(|id| seen.insert(*id)).cloned().collect()
}

/// Whom the kernel let in.
fn accepted(outcome: &Outcome) -> impl Iterator<Item = &InstanceId> {
    let answers = match outcome {
        Outcome::Connected(answers) => &answers[..],
        Outcome::Done(_) | Outcome::Registered(_) | Outcome::Renewed(_) => &[],
    };
    answers.iter().flatten().map(|presence| &presence.id)
}

/// The kernel's leases. It gave what changed the revision after the one that was
/// read; etcd gave it another one.
fn leases(outcome: Outcome, read: Revision, written: Revision) -> Result<Vec<Result<Lease>>> {
    let mut leases = outcome.leases()?;
    for lease in leases.iter_mut().flatten() {
        if lease.revision == read.next() {
            lease.revision = written;
        }
    }
    Ok(leases)
}

/// The instances in parts that make one transaction each, if nothing else has to
/// be deleted for them.
fn parts(specs: &[InstanceSpec], has_copies: bool) -> Vec<&[InstanceSpec]> {
    let mut parts = Vec::new();
    let (mut start, mut count, mut size) = (0, 0, 0);
    for (place, spec) in specs.iter().enumerate() {
        // Its record, its sign of life, and copies for foreign readers.
        let more = 2 + spec.offers.len() * if has_copies { 2 } else { 1 };
        if place > start && (count + more >= MOST || size + spec.size() > BYTES) {
            parts.push(&specs[start..place]);
            (start, count, size) = (place, 0, 0);
        }
        (count, size) = (count + more, size + spec.size());
    }
    parts.push(&specs[start..]);
    parts
}
