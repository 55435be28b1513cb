//! What a transaction reads before it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use registry_api::kernel::{Command, Judgement, State, Stored, Transition};
use registry_api::{
    Epoch, Era, Health, InstanceId, InstanceRef, Presence, Registration, Revision, ServiceRecord,
};

use super::ids_of;
use crate::dialect::Fault;
use crate::read::no_namespace;
use crate::record;
use crate::session::{Failed, Session};
use crate::statement::Value;
use crate::statements::{LOAD_INSTANCES, LOAD_SERVICES, LOCK_LEASES, TURN};
use crate::store::Store;
use crate::writer::Work;

/// Where the history stands, and the clock.
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) position: u64,
    pub(super) events: u64,
    pub(super) term: i64,
    pub(super) since: i64,
    pub(super) now: i64,
}

/// Takes the turn to write.
pub(super) async fn head(store: &Store, session: &mut Session) -> Result<Head, Failed> {
    let rows = session.rows(TURN, &[store.ns.into()]).await?;
    let read = || {
        let row = rows.first()?;
        Some(Head {
            revision: Revision { era: Era(row.count(0)?), number: row.count(1)? },
            position: row.count(2)?,
            events: row.count(3)?,
            term: row.int(4)?,
            since: row.int(5)?,
            now: row.int(6)?,
        })
    };
    read().ok_or_else(|| Failed { fault: Fault::Missing, error: no_namespace() })
}

/// The records a transaction is about.
#[derive(Default)]
pub(super) struct Loaded {
    leases: BTreeMap<InstanceId, Lease>,
    presences: BTreeMap<InstanceId, Arc<Presence>>,
    services: Vec<Arc<ServiceRecord>>,
}

/// A row of the lease table.
struct Lease {
    epoch: Epoch,
    told: Health,
    /// What the database's clock says.
    judgement: Judgement,
    slot: i64,
}

/// Reads what `works` are about, and keeps beats away from the leases.
pub(super) async fn load(
    store: &Store,
    session: &mut Session,
    head: &Head,
    works: &[Work],
) -> Result<Loaded, Failed> {
    let mut loaded = Loaded::default();
    let ids: BTreeSet<InstanceId> = works.iter().flat_map(wanted_ids).collect();
    if !ids.is_empty() {
        loaded.load_instances(store, session, head, &ids).await?;
    }
    let (names, owners) = wanted_services(works);
    if !owners.is_empty() {
        loaded.load_services(store, session, names, owners).await?;
    }
    Ok(loaded)
}

fn wanted_ids(work: &Work) -> Vec<InstanceId> {
    match work {
        Work::Sweep(ids) => ids.clone(),
        Work::Command(command) => ids_of(command),
    }
}

/// The services and owners whose declarations decide about `works`.
fn wanted_services(works: &[Work]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut owners) = (BTreeSet::new(), BTreeSet::new());
    for work in works {
        match work {
            Work::Command(Command::Deregister(owner, services)) => {
                owners.insert(owner.to_string());
                names.extend(services.iter().map(ToString::to_string));
            }
            Work::Command(Command::Register(Registration { owner, services, .. })) => {
                owners.insert(owner.to_string());
                names.extend(services.iter().map(|spec| spec.name.to_string()));
            }
            Work::Command(_) | Work::Sweep(_) => {}
        }
    }
    (names, owners)
}

impl Loaded {
    async fn load_instances(
        &mut self,
        store: &Store,
        session: &mut Session,
        head: &Head,
        ids: &BTreeSet<InstanceId>,
    ) -> Result<(), Failed> {
        let (ns, texts) = (Value::Int(store.ns), Value::texts(ids));
        let clock = [head.term, head.since, head.now].map(Value::Int);
        let values: Vec<_> = [ns.clone(), texts.clone()].into_iter().chain(clock).collect();
        for row in session.rows(LOCK_LEASES, &values).await? {
            let id = row.text(0).and_then(|id| InstanceId::parse(id).ok());
            let read = (id, row.int(1), row.int(3), row.int(4));
            let (Some(id), Some(epoch), Some(state), Some(slot)) = read else {
                store.skip(1, "lease", row.text(0).unwrap_or_default());
                continue;
            };
            let told = record::told(row.int(2));
            let judgement = record::judgement(state);
            let lease = Lease { epoch: Epoch(epoch as u64), told, judgement, slot };
            self.leases.insert(id, lease);
        }
        for row in session.rows(LOAD_INSTANCES, &[ns, texts]).await? {
            let key = row.text(0).unwrap_or_default();
            match record::presence(row.int(1), row.text(2), key) {
                Some(presence) => {
                    self.presences.insert(presence.id.clone(), Arc::new(presence));
                }
                None => store.skip(1, "instance", key),
            }
        }
        // A record and its lease are one; half of them is nobody we know. Such
        // rows are left alone, for a newer version of this program to whom they
        // may mean something.
        let (leases, presences) = (&mut self.leases, &mut self.presences);
        presences.retain(|id, presence| {
            leases.get(id).is_some_and(|lease| lease.epoch == presence.epoch)
        });
        leases.retain(|id, _| presences.contains_key(id));
        Ok(())
    }

    async fn load_services(
        &mut self,
        store: &Store,
        session: &mut Session,
        names: BTreeSet<String>,
        owners: BTreeSet<String>,
    ) -> Result<(), Failed> {
        let values = [store.ns.into(), Value::texts(names), Value::texts(owners)];
        for row in session.rows(LOAD_SERVICES, &values).await? {
            let key = row.text(0).unwrap_or_default();
            match record::service(row.int(1), row.text(2), key) {
                Some(record) => self.services.push(Arc::new(record)),
                None => store.skip(1, "declaration", key),
            }
        }
        Ok(())
    }

    /// The part of the registry that was read, for the kernel.
    pub(super) fn state(&self, head: &Head) -> State {
        let told = |(id, presence): (&InstanceId, &Arc<Presence>)| {
            Some((Arc::clone(presence), self.leases.get(id)?.told))
        };
        let stored = Stored {
            revision: head.revision,
            position: head.position,
            services: self.services.clone(),
            presences: self.presences.iter().filter_map(told).collect(),
        };
        State::restore(stored, usize::MAX)
    }

    /// The slot of a lease that goes on: the same life, on the same terms.
    pub(super) fn slot(&self, presence: &Presence) -> Option<i64> {
        let (lease, before) = (self.leases.get(&presence.id)?, self.presences.get(&presence.id)?);
        let goes_on = before.epoch == presence.epoch && before.terms == presence.terms;
        let lives = !matches!(lease.judgement, Judgement::Gone);
        (goes_on && lives).then_some(lease.slot)
    }

    /// What time has done to these since watchers were told of it, in an order
    /// that favours nobody.
    pub(super) fn transitions(&self, ids: &[InstanceId]) -> Vec<Transition> {
        let transition = |id: &InstanceId| {
            let lease = self.leases.get(id)?;
            let of = InstanceRef { id: id.clone(), epoch: lease.epoch };
            Transition::of(of, lease.told, lease.judgement)
        };
        let mut transitions: Vec<_> = ids.iter().filter_map(transition).collect();
        fastrand::shuffle(&mut transitions);
        transitions
    }
}
