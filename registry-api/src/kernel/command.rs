//! The writes of a registry as data, so that a log of them can be folded.

use std::sync::Arc;

use super::catalogue::Catalogue;
use super::change::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{InstanceId, Owner, ServiceName};
use crate::instance::{InstanceRef, InstanceSpec, Presence};
use crate::lease::{BeatOutcome, Lease};
use crate::revision::Epoch;
use crate::service::{Registration, ServiceRecord};

/// A write.
#[derive(Clone, Debug)]
pub enum Command {
    /// Join or update; the terms are granted already.
    Connect(Vec<InstanceSpec>),
    /// Remove who was silent for too long.
    Delist(Vec<Delist>),
    /// Withdraw declarations.
    Deregister(Owner, Vec<ServiceName>),
    /// Leave.
    Disconnect(Vec<InstanceRef>),
    /// Declare.
    Register(Registration),
    /// Go on living: for a beat that came when somebody may already have
    /// proposed to delist. Voids such proposals, and changes nothing else.
    Renew(Vec<InstanceRef>),
}

/// The proposal to remove one life of an instance.
///
/// Void when the instance connected again since: its generation is another then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delist {
    /// The instance.
    pub id: InstanceId,
    /// Which life of it.
    pub epoch: Epoch,
    /// How often that life had been connected when this was proposed.
    pub generation: u64,
}

/// The answer to a [`Command`].
#[derive(Debug)]
pub enum Outcome {
    /// The granted presences, in the order of the specs.
    Connected(Vec<Result<Arc<Presence>>>),
    /// Nothing to answer.
    Done(Result<()>),
    /// The declared records.
    Registered(Result<Vec<Arc<ServiceRecord>>>),
    /// The lives that go on, in the order they were named, or what is to be
    /// said to the holder of one that does not.
    Renewed(Vec<Result<Arc<Presence>, BeatOutcome>>),
}

impl Outcome {
    /// The leases of a [`Command::Connect`].
    pub fn leases(self) -> Result<Vec<Result<Lease>>> {
        match self {
            Self::Connected(answers) => {
                let lease = |presence: Arc<Presence>| presence.lease();
                Ok(answers.into_iter().map(|answer| answer.map(lease)).collect())
            }
            Self::Done(_) | Self::Registered(_) | Self::Renewed(_) => Err(mismatch()),
        }
    }

    /// The records of a [`Command::Register`].
    pub fn records(self) -> Result<Vec<Arc<ServiceRecord>>> {
        match self {
            Self::Registered(records) => records,
            Self::Connected(_) | Self::Done(_) | Self::Renewed(_) => Err(mismatch()),
        }
    }

    /// The answer to any other command.
    pub fn done(self) -> Result<()> {
        match self {
            Self::Done(done) => done,
            Self::Connected(_) | Self::Registered(_) | Self::Renewed(_) => Err(mismatch()),
        }
    }
}

/// Only a program that takes the answer to one command for that to another
/// gets here.
fn mismatch() -> Error {
    Error::new(ErrorKind::Corrupt, "this is the answer to another command")
}

impl Catalogue {
    /// Applies one command: its answer, and the change if it made one.
    pub fn apply(&mut self, command: Command) -> (Outcome, Option<Change>) {
        match command {
            Command::Connect(specs) => {
                let (answers, change) = self.connect(&specs);
                (Outcome::Connected(answers), change)
            }
            Command::Delist(delists) => (Outcome::Done(Ok(())), self.delist(&delists)),
            Command::Deregister(owner, services) => match self.deregister(&owner, &services) {
                Ok(change) => (Outcome::Done(Ok(())), change),
                Err(error) => (Outcome::Done(Err(error)), None),
            },
            Command::Disconnect(instances) => (Outcome::Done(Ok(())), self.disconnect(&instances)),
            Command::Register(registration) => match self.register(registration) {
                Ok((records, change)) => (Outcome::Registered(Ok(records)), change),
                Err(error) => (Outcome::Registered(Err(error)), None),
            },
            Command::Renew(lives) => (Outcome::Renewed(self.renew(&lives)), None),
        }
    }

    /// Applies the command that stands at `place` of a log. Its revision is that
    /// of the place, counted from 1; places that change nothing have none.
    ///
    /// Whoever applies the same log from the same place has the same catalogue.
    pub fn apply_at(&mut self, place: u64, command: Command) -> (Outcome, Option<Change>) {
        let before = self.revision();
        self.stand_at(place);
        let (outcome, change) = self.apply(command);
        if change.is_none() {
            self.stand_at(before.number);
        }
        (outcome, change)
    }
}
