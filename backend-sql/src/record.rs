//! Records as they stand in the tables: JSON, with the number of its format.
//!
//! The one place that translates between stored texts and the model. A text of
//! another format, or one that cannot be understood, is `None`.

use std::sync::Arc;

use registry_api::kernel::{Change, Edit, Entry, HealthChange, Judgement};
use registry_api::{
    Cause, Epoch, Health, InstanceId, LeaseTerms, Presence, Revision, ServiceName, ServiceRecord,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The format that is written.
pub(crate) const FORMAT: i64 = 1;

/// What is written of a record.
pub(crate) fn write<T: Serialize>(record: &T) -> String {
    // Maps with text keys, lists and numbers: there is nothing that could fail.
    serde_json::to_string(record).unwrap_or_default()
}

/// The record in a row, if it is one of ours and says it is `key`.
pub(crate) fn presence(format: Option<i64>, text: Option<&str>, key: &str) -> Option<Presence> {
    let record: Presence = read(format, text)?;
    (record.id.as_str() == key).then_some(record)
}

/// The declaration in a row, if it is one of ours and says it is `key`.
pub(crate) fn service(format: Option<i64>, text: Option<&str>, key: &str) -> Option<ServiceRecord> {
    let record: ServiceRecord = read(format, text)?;
    (record.spec.name.as_str() == key).then_some(record)
}

fn read<T: DeserializeOwned>(format: Option<i64>, text: Option<&str>) -> Option<T> {
    (format == Some(FORMAT)).then(|| serde_json::from_str(text?).ok()).flatten()
}

/// The terms of a lease in microseconds: offline after the first, gone after
/// the second.
pub(crate) fn micros(terms: LeaseTerms) -> (i64, i64) {
    let micros = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    (micros(terms.ttl()), micros(terms.ttd()))
}

/// An epoch as a column holds it: the same 64 bits, with a sign.
pub(crate) fn epoch(epoch: Epoch) -> i64 {
    epoch.0 as i64
}

/// What the database's clock says of a lease; `None` is gone.
pub(crate) fn health(state: i64) -> Option<Health> {
    match state {
        0 => Some(Health::Online),
        1 => Some(Health::Offline),
        _ => None,
    }
}

/// The same, as the kernel says it.
pub(crate) fn judgement(state: i64) -> Judgement {
    health(state).map_or(Judgement::Gone, Judgement::Present)
}

/// What watchers were told, as a column holds it.
pub(crate) fn told(column: Option<i64>) -> Health {
    match column {
        Some(1) => Health::Offline,
        _ => Health::Online,
    }
}

/// The column for what watchers are told.
pub(crate) fn told_column(health: Health) -> i64 {
    i64::from(health == Health::Offline)
}

/// One edit of an entry.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Declared(Arc<ServiceRecord>),
    Withdrawn(ServiceName),
    Instance {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Arc<Presence>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Arc<Presence>>,
        cause: Cause,
    },
    Health {
        id: InstanceId,
        epoch: Epoch,
        health: Health,
    },
}

/// A row of the history holds about this many bytes.
const ROW: usize = 512 * 1024;

/// An entry as the texts of one or more rows.
pub(crate) fn entry(entry: &Entry) -> Vec<String> {
    let lines: Vec<String> = match entry {
        Entry::Commit(change) => change.edits.iter().map(|edit| write(&line(edit))).collect(),
        Entry::Health(_, changes) => changes.iter().map(|change| write(&judged(change))).collect(),
    };
    let mut rows = vec![String::from("[")];
    for line in lines {
        let full = rows.last().is_some_and(|row| row.len() + line.len() > ROW && row.len() > 1);
        if full {
            rows.push(String::from("["));
        }
        if let Some(row) = rows.last_mut() {
            if row.len() > 1 {
                row.push(',');
            }
            row.push_str(&line);
        }
    }
    rows.iter_mut().for_each(|row| row.push(']'));
    rows
}

fn line(edit: &Edit) -> Line {
    match edit {
        Edit::Service(record) => Line::Declared(Arc::clone(record)),
        Edit::ServiceRemoved(name) => Line::Withdrawn(name.clone()),
        Edit::Instance { before, after, cause } => {
            Line::Instance { before: before.clone(), after: after.clone(), cause: *cause }
        }
    }
}

fn judged(change: &HealthChange) -> Line {
    Line::Health {
        id: change.presence.id.clone(),
        epoch: change.presence.epoch,
        health: change.health,
    }
}

/// The lines of an entry that was read, and how many could not be understood.
pub(crate) struct Lines {
    lines: Vec<Line>,
    pub(crate) skipped: u64,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self { lines: Vec::new(), skipped: 0 }
    }

    /// Adds a row.
    pub(crate) fn read(&mut self, format: Option<i64>, text: Option<&str>) {
        let rows: Option<Vec<Box<RawValue>>> = read(format, text);
        let Some(rows) = rows else {
            self.skipped += 1;
            return;
        };
        for row in rows {
            match serde_json::from_str(row.get()) {
                Ok(line) => self.lines.push(line),
                Err(_) => self.skipped += 1,
            }
        }
    }

    /// The entry: a committed write, or judgements. `known` is the record of an
    /// instance that is judged; what is said of a life that is not known is
    /// nobody's news.
    pub(crate) fn entry(
        self,
        revision: Revision,
        is_commit: bool,
        known: impl Fn(&InstanceId) -> Option<Arc<Presence>>,
    ) -> Entry {
        let mut edits = Vec::new();
        let mut changes = Vec::new();
        for line in self.lines {
            match line {
                Line::Declared(record) => edits.push(Edit::Service(record)),
                Line::Withdrawn(name) => edits.push(Edit::ServiceRemoved(name)),
                Line::Instance { before, after, cause } => {
                    edits.push(Edit::Instance { before, after, cause });
                }
                Line::Health { id, epoch, health } => {
                    let presence = known(&id).filter(|presence| presence.epoch == epoch);
                    changes.extend(presence.map(|presence| HealthChange { presence, health }));
                }
            }
        }
        match is_commit {
            true => Entry::Commit(Change { revision, edits }),
            false => Entry::Health(revision, changes),
        }
    }
}
