//! The fold of the log: from messages to a registry. No broker, no clock.
//!
//! Invariant: whoever has folded the same log up to the same entry has the same
//! registry, wherever it began to read.

use registry_api::kernel::{Command, Delist, Outcome, State};
use registry_api::{Era, InstanceRef};

use crate::draft::{Drafts, Snapshot};
use crate::record::{self, Entry, Envelope, Read};

/// A log that is being read.
#[derive(Debug)]
pub(crate) struct Log {
    /// Who we are in it.
    me: u64,
    history: usize,
    /// Where the history of the next registry begins.
    position: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// No snapshot has been read yet: entries wait for one.
    Gathering(Gathering),
    Folding(Box<Folding>),
}

#[derive(Debug, Default)]
struct Gathering {
    first: Option<u64>,
    last: Option<Place>,
    hint: Option<Hint>,
    waiting: Vec<(u64, Envelope)>,
    drafts: Drafts,
}

/// A registry, and where in the log it is.
#[derive(Debug)]
pub(crate) struct Folding {
    pub(crate) state: State,
    pub(crate) era: Era,
    pub(crate) base: u64,
    /// The last entry that was read; none in a log that was just founded.
    pub(crate) last: Option<Place>,
    /// The snapshot before the latest one, and the latest: after which entry.
    previous: Option<Option<u64>>,
    latest: Option<u64>,
    /// How many bytes the latest snapshot has.
    pub(crate) snapshot: u64,
    /// How many bytes of log came since.
    pub(crate) since: u64,
    pub(crate) drafts: Drafts,
}

/// An entry: where it is, and what tells it from another one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) mark: u64,
}

/// What writers say to those who know nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) era: Era,
    pub(crate) from: Option<u64>,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Taken {
    /// An entry of ours that wrote nothing, or has no meaning here any more.
    Mine(u64),
    /// One that is nothing to us.
    Nothing,
    /// A snapshot was whole: there is a registry now.
    Began,
    /// One that cannot be understood.
    Junk,
    /// One of a format that is not known here.
    Newer(String),
    Wrote(Wrote),
}

/// A write that was folded.
#[derive(Debug)]
pub(crate) struct Wrote {
    /// Which of our messages it was, if it was ours.
    pub(crate) mine: Option<u64>,
    pub(crate) outcome: Outcome,
    /// Lives that may be over.
    pub(crate) ended: Vec<InstanceRef>,
}

impl Log {
    /// A log that nobody has read, for the writer `me`. Its registry keeps about
    /// `history` events.
    pub(crate) fn new(me: u64, history: usize) -> Self {
        Self { me, history, position: 0, stage: Stage::Gathering(Gathering::default()) }
    }

    /// Begins anew. Watchers of what was there will see that it is gone.
    pub(crate) fn forget(&mut self) {
        if let Stage::Folding(folding) = &self.stage {
            self.position = folding.state.position() + 1;
        }
        self.stage = Stage::Gathering(Gathering::default());
    }

    /// The registry, once there is one.
    pub(crate) fn folding(&self) -> Option<&Folding> {
        match &self.stage {
            Stage::Folding(folding) => Some(folding),
            Stage::Gathering(_) => None,
        }
    }

    pub(crate) fn folding_mut(&mut self) -> Option<&mut Folding> {
        match &mut self.stage {
            Stage::Folding(folding) => Some(folding),
            Stage::Gathering(_) => None,
        }
    }

    /// The first message that was read, while there is no registry.
    pub(crate) fn first(&self) -> Option<u64> {
        match &self.stage {
            Stage::Gathering(gathering) => gathering.first,
            Stage::Folding(_) => None,
        }
    }

    /// What is to be said to those who know nothing.
    pub(crate) fn hint(&self) -> Option<Hint> {
        match &self.stage {
            Stage::Gathering(gathering) => gathering.hint,
            Stage::Folding(folding) => {
                let from = folding.previous.unwrap_or(folding.latest);
                Some(Hint { era: folding.era, from })
            }
        }
    }

    /// Takes the message at `offset`.
    pub(crate) fn take(&mut self, offset: u64, format: Option<&str>, body: &[u8]) -> Taken {
        let place = Place { offset, mark: record::mark(body) };
        let read = record::read(format, body);
        match &mut self.stage {
            Stage::Gathering(gathering) => {
                gathering.first.get_or_insert(offset);
                gathering.last = Some(place);
            }
            Stage::Folding(folding) => {
                folding.last = Some(place);
                folding.since += body.len() as u64;
            }
        }
        match read {
            Read::Junk => Taken::Junk,
            Read::Newer(format) => Taken::Newer(format),
            Read::Entry(envelope) => self.enter(offset, *envelope, body.len() as u64),
        }
    }

    fn enter(&mut self, offset: u64, envelope: Envelope, bytes: u64) -> Taken {
        match &mut self.stage {
            Stage::Folding(folding) => folding.enter(self.me, offset, envelope, bytes),
            Stage::Gathering(gathering) => {
                let mine = (envelope.by == self.me).then_some(envelope.n);
                match gathering.enter(offset, envelope, bytes) {
                    Some(snapshot) => self.begin(snapshot),
                    None => mine.map_or(Taken::Nothing, Taken::Mine),
                }
            }
        }
    }

    /// Goes on from a snapshot, with what was read after it.
    fn begin(&mut self, snapshot: Snapshot) -> Taken {
        let Stage::Gathering(gathering) = &mut self.stage else {
            return Taken::Nothing;
        };
        let gathering = std::mem::take(gathering);
        let (era, base, after) = (snapshot.era, snapshot.base, snapshot.after);
        let mut folding = Folding {
            era,
            base,
            last: gathering.last,
            previous: None,
            latest: after,
            snapshot: snapshot.bytes,
            since: snapshot.bytes,
            drafts: Drafts::default(),
            state: State::beginning(snapshot.catalogue(), self.position, self.history),
        };
        for (offset, envelope) in gathering.waiting {
            if after.is_none_or(|after| offset > after) {
                folding.enter(self.me, offset, envelope, 0);
            }
        }
        self.stage = Stage::Folding(Box::new(folding));
        Taken::Began
    }
}

impl Gathering {
    /// Keeps an entry until there is something to fold it into; the snapshot, if
    /// one is whole that nothing is missing after.
    fn enter(&mut self, offset: u64, envelope: Envelope, bytes: u64) -> Option<Snapshot> {
        if let Some(era) = envelope.era {
            self.hint = Some(Hint { era, from: envelope.from });
        }
        let Envelope { era: Some(era), entry: Entry::Snapshot(part), .. } = envelope else {
            self.waiting.push((offset, envelope));
            return None;
        };
        let first = self.first?;
        let snapshot = self.drafts.take(era, part, bytes)?;
        // The first message of a log has the offset 0.
        let whole = snapshot.after.map_or(first == 0, |after| first <= after);
        whole.then_some(snapshot)
    }
}

impl Folding {
    fn enter(&mut self, me: u64, offset: u64, envelope: Envelope, bytes: u64) -> Taken {
        let mine = (envelope.by == me).then_some(envelope.n);
        let void = || mine.map_or(Taken::Nothing, Taken::Mine);
        if envelope.era != Some(self.era) {
            return void(); // Of a log that was here before, or never began.
        }
        if let Entry::Snapshot(part) = envelope.entry {
            if let Some(snapshot) = self.drafts.take(self.era, part, bytes) {
                self.mark(&snapshot);
            }
            return void();
        }
        let Some(command) = envelope.entry.command() else {
            return void();
        };
        let ended = lives(&command);
        let outcome = self.state.write_at(self.base + offset, command);
        Taken::Wrote(Wrote { mine, outcome, ended })
    }

    /// Notes where those begin who come later.
    fn mark(&mut self, snapshot: &Snapshot) {
        if snapshot.after <= self.latest {
            return; // Somebody else was quicker.
        }
        self.previous = Some(self.latest);
        self.latest = snapshot.after;
        self.snapshot = snapshot.bytes;
        self.since = snapshot.bytes;
    }
}

/// The lives a command may end.
fn lives(command: &Command) -> Vec<InstanceRef> {
    match command {
        Command::Delist(delists) => {
            let life = |d: &Delist| InstanceRef { id: d.id.clone(), epoch: d.epoch };
            delists.iter().map(life).collect()
        }
        Command::Disconnect(lives) => lives.clone(),
        Command::Connect(_)
        | Command::Deregister(..)
        | Command::Register(_)
        | Command::Renew(_) => Vec::new(),
    }
}
