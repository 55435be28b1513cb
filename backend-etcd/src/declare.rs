//! Declarations: all of a registration is one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_client::TxnOp;
use registry_api::kernel::{Command, Edit, Entry, Outcome, State, Stored};
use registry_api::{Error, Owner, Result, Revision, ServiceName, ServiceRecord};

use crate::fault::Failed;
use crate::read::{MOST, Wanted, era_of, mod_revision};
use crate::record::{self, Commit, Declared, Owned};
use crate::store::{Store, no_era};
use crate::tries::{Attempt, insist};

/// The declarations a write is about.
struct Declarations {
    revision: Revision,
    records: Vec<Arc<ServiceRecord>>,
    /// At which revisions all that was read last changed.
    expected: Vec<(String, u64)>,
}

impl Store {
    /// Changes what `owner` declares, `named` among it, as the kernel says.
    pub(crate) async fn declare(
        &self,
        owner: &Owner,
        named: &[ServiceName],
        command: &Command,
    ) -> Result<Outcome> {
        let outcome = insist(|| self.try_declare(owner, named, command)).await?;
        outcome.ok_or_else(too_many)
    }

    async fn try_declare(
        &self,
        owner: &Owner,
        named: &[ServiceName],
        command: &Command,
    ) -> Result<Attempt<Outcome>, Failed> {
        let before = self.declarations(owner, named).await?;
        let mut state = before.state();
        let outcome = state.write(command.clone());
        let operations = self.operations(owner, &state);
        if operations.is_empty() {
            return Ok(Attempt::Done(outcome));
        }
        if operations.len() >= MOST || before.expected.len() > MOST {
            return Ok(Attempt::TooMuch);
        }
        let commit = Commit::default();
        let written = self.commit(before.expected, operations, &commit).await?;
        Ok(match written {
            Some(number) => Attempt::Done(dated(outcome, before.revision, number)),
            None => Attempt::Again,
        })
    }

    /// What `owner` has declared, and whatever is declared under the names.
    async fn declarations(
        &self,
        owner: &Owner,
        named: &[ServiceName],
    ) -> Result<Declarations, Failed> {
        let own = self.keys.owner(owner);
        let asked = [(self.keys.era(), Wanted::Value), (own.clone(), Wanted::Value)];
        let mut answered = self.get(&asked).await?;
        let owned = answered.kvs.pop().flatten();
        let era = answered.kvs.pop().flatten().as_ref().and_then(era_of);
        let revision = Revision {
            era: era.ok_or_else(|| Failed::Refused(no_era()))?,
            number: answered.revision,
        };
        let services = owned.as_ref().and_then(|kv| record::read::<Owned>(kv.value()));
        let services = services.unwrap_or_default().services;
        let names: BTreeSet<_> = named.iter().chain(&services).collect();
        let wanted = names.iter().map(|name| (self.keys.service(name), Wanted::Value));
        let wanted: Vec<_> = wanted.collect();
        let answered = self.get(&wanted).await?;
        let mut expected = vec![(own, owned.as_ref().map_or(0, mod_revision))];
        let mut records = Vec::new();
        for ((name, (key, _)), kv) in names.into_iter().zip(wanted).zip(answered.kvs) {
            let at = kv.as_ref().map_or(0, mod_revision);
            expected.push((key, at));
            let written = Revision { era: revision.era, number: at };
            let declared = kv.and_then(|kv| record::read::<Declared>(kv.value()));
            records.extend(declared.and_then(|d| d.record(name, written)).map(Arc::new));
        }
        Ok(Declarations { revision, records, expected })
    }

    /// What the kernel did, as operations.
    fn operations(&self, owner: &Owner, state: &State) -> Vec<TxnOp> {
        let mut operations = Vec::new();
        for (_, entry) in state.entries(0) {
            let Entry::Commit(change) = entry else { continue };
            operations.extend(change.edits.iter().filter_map(|edit| match edit {
                Edit::Service(record) => {
                    let value = record::write(&Declared::of(record));
                    Some(TxnOp::put(self.keys.service(&record.spec.name), value, None))
                }
                Edit::ServiceRemoved(name) => Some(TxnOp::delete(self.keys.service(name), None)),
                Edit::Instance { .. } => None,
            }));
        }
        if operations.is_empty() {
            return operations;
        }
        let declared = state.catalogue().snapshot(&registry_api::Scope::Declarations, |_| None);
        let own = declared.services.iter().filter(|record| record.owner == *owner);
        let services: Vec<_> = own.map(|record| record.spec.name.clone()).collect();
        let key = self.keys.owner(owner);
        operations.push(match services.is_empty() {
            true => TxnOp::delete(key, None),
            false => TxnOp::put(key, record::write(&Owned { services }), None),
        });
        operations
    }
}

impl Declarations {
    fn state(&self) -> State {
        let stored = Stored {
            revision: self.revision,
            position: 0,
            services: self.records.clone(),
            presences: Vec::new(),
        };
        State::restore(stored, usize::MAX)
    }
}

/// The kernel's records. It gave what changed the revision after the one that was
/// read; etcd gave it another one.
fn dated(outcome: Outcome, read: Revision, number: u64) -> Outcome {
    let date = |record: Arc<ServiceRecord>| {
        if record.revision != read.next() {
            return record;
        }
        let revision = Revision { era: read.era, number };
        Arc::new(ServiceRecord { revision, ..ServiceRecord::clone(&record) })
    };
    match outcome {
        Outcome::Registered(Ok(records)) => {
            Outcome::Registered(Ok(records.into_iter().map(date).collect()))
        }
        outcome => outcome,
    }
}

fn too_many() -> Error {
    let rule = format!(
        "must be fewer with etcd: one registration may touch about {} declarations of an owner",
        MOST - 2
    );
    Error::invalid("services", rule)
}
