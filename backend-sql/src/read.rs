//! Reading: one statement, one snapshot, judged by the database.

use std::collections::HashMap;
use std::sync::Arc;

use registry_api::kernel::{Catalogue, State, Stored};
use registry_api::{
    Era, Error, ErrorKind, Health, InstanceId, Presence, Query, Result, Revision, Scope,
    ServiceRecord, View,
};

use crate::connection::Row;
use crate::record;
use crate::session::Session;
use crate::statement::Value;
use crate::statements::{READ_ALL, READ_DECLARATIONS, READ_INSTANCE, READ_SERVICES};
use crate::store::Store;

/// What one statement saw.
pub(crate) struct Seen {
    pub(crate) revision: Revision,
    pub(crate) position: u64,
    services: Vec<Arc<ServiceRecord>>,
    instances: Vec<SeenInstance>,
}

struct SeenInstance {
    presence: Arc<Presence>,
    /// What the database's clock says; `None` is gone.
    health: Option<Health>,
    told: Health,
}

impl Store {
    /// Answers a query.
    pub(crate) async fn resolve(&self, query: &Query) -> Result<View> {
        let seen = self.see(&mut self.session().await?, &query.scope).await?;
        let health: HashMap<InstanceId, Health> = seen
            .instances
            .iter()
            .filter_map(|i| Some((i.presence.id.clone(), i.health?)))
            .collect();
        let presences = seen.instances.into_iter().map(|instance| instance.presence);
        let catalogue = Catalogue::restore(seen.revision, seen.services, presences);
        catalogue.view(query, |presence| health.get(&presence.id).copied())
    }

    /// Reads what is in `scope`.
    pub(crate) async fn see(&self, session: &mut Session, scope: &Scope) -> Result<Seen> {
        let ns = Value::Int(self.ns);
        let (text, values) = match scope {
            Scope::Declarations => (READ_DECLARATIONS, vec![ns]),
            Scope::Instance(id) => (READ_INSTANCE, vec![ns, id.as_str().into()]),
            Scope::Services(names) => (READ_SERVICES, vec![ns, Value::texts(names)]),
            // Whatever a later version adds is a part of everything.
            _ => (READ_ALL, vec![ns]),
        };
        // A clock that jumped is noted, and then it has not jumped any more.
        for _ in 0..3 {
            let asked = self.clock.now();
            let rows = session.rows(text, &values).await?;
            let head = rows.iter().find(|row| row.int(0) == Some(0)).and_then(Head::read);
            let head = head.ok_or_else(no_namespace)?;
            if self.believes(asked, head.now, head.term).await? {
                return Ok(self.seen(&head, &rows));
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the database's clock does not stand still"))
    }

    fn seen(&self, head: &Head, rows: &[Row]) -> Seen {
        let mut seen = Seen {
            revision: head.revision,
            position: head.position,
            services: Vec::new(),
            instances: Vec::new(),
        };
        for row in rows {
            let key = row.text(1).unwrap_or_default();
            match row.int(0) {
                Some(1) => match record::service(row.int(2), row.text(3), key) {
                    Some(record) => seen.services.push(Arc::new(record)),
                    None => self.skip(1, "declaration", key),
                },
                Some(2) => match instance(row, key) {
                    Some(instance) => seen.instances.push(instance),
                    None => self.skip(1, "instance", key),
                },
                _ => {}
            }
        }
        seen
    }
}

impl Seen {
    /// A state that begins here, with a history of about `capacity` events.
    pub(crate) fn into_state(self, capacity: usize) -> State {
        let told = |instance: SeenInstance| (instance.presence, instance.told);
        let stored = Stored {
            revision: self.revision,
            position: self.position,
            services: self.services,
            presences: self.instances.into_iter().map(told).collect(),
        };
        State::restore(stored, capacity)
    }
}

/// The first row of a read.
struct Head {
    revision: Revision,
    position: u64,
    now: i64,
    term: i64,
}

impl Head {
    fn read(row: &Row) -> Option<Self> {
        let era = Era(row.count(4)?);
        let revision = Revision { era, number: row.count(5)? };
        Some(Self { revision, position: row.count(6)?, now: row.int(7)?, term: row.int(8)? })
    }
}

fn instance(row: &Row, key: &str) -> Option<SeenInstance> {
    let presence = record::presence(row.int(2), row.text(3), key)?;
    if row.int(4)? != record::epoch(presence.epoch) {
        return None; // A lease of another life.
    }
    let health = record::health(row.int(5)?);
    Some(SeenInstance { presence: Arc::new(presence), health, told: record::told(row.int(6)) })
}

/// The answer where the namespace's own row is not there any more.
pub(crate) fn no_namespace() -> Error {
    Error::new(ErrorKind::Unavailable, "the namespace is not in the database any more")
}
