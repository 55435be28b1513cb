//! What is written into the log: JSON, one entry per message.
//!
//! The message's type names the format, so that an entry of the future is known
//! to be one without being understood.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use registry_api::kernel::{Command, Delist};
use registry_api::{
    Epoch, Era, InstanceId, InstanceRef, InstanceSpec, Owner, Presence, Registration, ServiceName,
    ServiceRecord,
};
use serde::{Deserialize, Serialize};

/// The format that is written, as a message's type.
pub(crate) const FORMAT: &str = "portolan/1";

/// The largest entry that is written, and that is read.
pub(crate) const MOST: usize = 16 << 20;

/// An entry, and who wrote it when he knew what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// The writer, a number nobody else has.
    pub(crate) by: u64,
    /// Which of the writer's messages it is.
    pub(crate) n: u64,
    /// The history it belongs to; none where the writer knew of none yet.
    pub(crate) era: Option<Era>,
    /// Where somebody who knows nothing begins to read, as the writer knew it:
    /// at this offset; from the first entry where there is none.
    pub(crate) from: Option<u64>,
    pub(crate) entry: Entry,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// Does nothing; whoever wrote it has read everything before when it comes
    /// back.
    Barrier,
    Connect(Vec<InstanceSpec>),
    Delist(Vec<(InstanceId, Epoch, u64)>),
    Deregister(Owner, Vec<ServiceName>),
    Disconnect(Vec<InstanceRef>),
    Register(Registration),
    Renew(Vec<InstanceRef>),
    /// A part of a snapshot; its records stand behind the entry.
    Snapshot(Part),
}

/// A part of a snapshot, of the records there were after one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Which snapshot; a number no other one has.
    pub(crate) id: u64,
    /// The last entry that is in it; none where it founds a log.
    pub(crate) after: Option<u64>,
    /// What is added to an offset to have a revision.
    pub(crate) base: u64,
    /// The number of the last revision that is in it.
    pub(crate) number: u64,
    /// Which part this is, of how many.
    pub(crate) part: u32,
    pub(crate) of: u32,
}

/// What stands behind a part: read by whoever begins with it, and by nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) services: Vec<Arc<ServiceRecord>>,
    /// Instances, each with how often this life had connected.
    pub(crate) lives: Vec<(Arc<Presence>, u64)>,
}

impl From<Command> for Entry {
    fn from(command: Command) -> Self {
        match command {
            Command::Connect(specs) => Self::Connect(specs),
            Command::Delist(delists) => {
                let delist = |d: Delist| (d.id, d.epoch, d.generation);
                Self::Delist(delists.into_iter().map(delist).collect())
            }
            Command::Deregister(owner, services) => Self::Deregister(owner, services),
            Command::Disconnect(lives) => Self::Disconnect(lives),
            Command::Register(registration) => Self::Register(registration),
            Command::Renew(lives) => Self::Renew(lives),
        }
    }
}

impl Entry {
    /// The write in it, if it is one.
    pub(crate) fn command(self) -> Option<Command> {
        Some(match self {
            Self::Barrier | Self::Snapshot(_) => return None,
            Self::Connect(specs) => Command::Connect(specs),
            Self::Delist(delists) => {
                let delist = |(id, epoch, generation)| Delist { id, epoch, generation };
                Command::Delist(delists.into_iter().map(delist).collect())
            }
            Self::Deregister(owner, services) => Command::Deregister(owner, services),
            Self::Disconnect(lives) => Command::Disconnect(lives),
            Self::Register(registration) => Command::Register(registration),
            Self::Renew(lives) => Command::Renew(lives),
        })
    }
}

/// What a message of the log is.
#[derive(Debug)]
pub(crate) enum Read<'a> {
    /// An entry, and what stands behind it.
    Entry(Box<Envelope>, &'a [u8]),
    /// Nobody's, or damaged.
    Junk,
    /// Of a format that is not known here.
    Newer(String),
}

/// An entry as the body of a message.
pub(crate) fn write(envelope: &Envelope) -> Vec<u8> {
    // Maps with text keys, lists and numbers: there is nothing that could fail.
    serde_json::to_vec(envelope).unwrap_or_default()
}

/// A part of a snapshot as the body of a message, and what stands behind it.
pub(crate) fn write_part(envelope: &Envelope, records: &Records) -> Vec<u8> {
    let mut body = write(envelope);
    body.push(b'\n');
    body.extend(serde_json::to_vec(records).unwrap_or_default());
    body
}

/// The entry in a message of type `format`.
pub(crate) fn read<'a>(format: Option<&str>, body: &'a [u8]) -> Read<'a> {
    match version(format) {
        Some(1) if body.len() <= MOST => {
            let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Envelope>();
            match values.next() {
                Some(Ok(envelope)) => {
                    Read::Entry(Box::new(envelope), &body[values.byte_offset()..])
                }
                Some(Err(_)) | None => Read::Junk,
            }
        }
        Some(newer) if newer > 1 => Read::Newer(format.unwrap_or_default().to_owned()),
        Some(_) | None => Read::Junk,
    }
}

/// The records behind a part.
pub(crate) fn records(behind: &[u8]) -> Option<Records> {
    serde_json::from_slice(behind).ok()
}

fn version(format: Option<&str>) -> Option<u32> {
    format?.strip_prefix("portolan/")?.parse().ok()
}

/// Tells one body from another, within this process.
pub(crate) fn mark(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_others_are_told_apart() {
        let lives = vec![(InstanceId::parse("🦀\"").unwrap(), Epoch(3), 9)];
        let entry = Entry::Delist(lives);
        let envelope = Envelope { by: u64::MAX, n: 1, era: Some(Era(7)), from: None, entry };
        let body = write(&envelope);
        assert!(matches!(read(Some(FORMAT), &body), Read::Entry(read, b"") if *read == envelope));
        let part = write_part(&envelope, &Records::default());
        let Read::Entry(_, behind) = read(Some(FORMAT), &part) else { panic!("{part:?}") };
        assert_eq!(records(behind), Some(Records::default()));
        assert!(matches!(read(Some("portolan/2"), &body), Read::Newer(_)));
        let (cut, long) = (&body[..body.len() - 1], vec![b' '; MOST + 1]);
        for (format, body) in [
            (None, &body[..]),
            (Some("text/plain"), &body),
            (Some("portolan/0"), &body),
            (Some("portolan/one"), &body),
            (Some(FORMAT), cut),
            (Some(FORMAT), b"\xff\x00"),
            (Some(FORMAT), b"{}"),
            (Some(FORMAT), &long),
        ] {
            assert!(matches!(read(format, body), Read::Junk), "{format:?}");
        }
    }
}
