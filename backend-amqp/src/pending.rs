//! What is on its way through the broker, and who waits for it to come back.

use std::collections::{BTreeMap, VecDeque};

use registry_api::kernel::Outcome;
use registry_api::{Beat, BeatOutcome, Epoch, Error, InstanceId, Timestamp};

use crate::desk::Reply;

/// Who waits for an entry of ours to be folded.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Readers; all that was said before `heard` has to be heard too, if that
    /// is a time.
    Barrier(Vec<Reply<()>>, Option<Timestamp>),
    /// Beats whose outcome the log decides.
    Beats(Batch),
    /// Nobody.
    Nobody,
    Write(Reply<Outcome>),
}

/// The beats of one message, and who sent them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) beats: Vec<(InstanceId, Epoch)>,
    pub(crate) outcomes: Vec<BeatOutcome>,
    /// The places of those whose lease is about to end, or has.
    pub(crate) contested: Vec<usize>,
    /// How many of the beats were whose.
    callers: Vec<(usize, Reply<Vec<BeatOutcome>>)>,
}

/// Beats that wait for a message.
#[derive(Debug, Default)]
pub(crate) struct Beats(VecDeque<(Vec<Beat>, Reply<Vec<BeatOutcome>>)>);

/// What goes into one message, about, in bytes: a call's beats always do.
const MESSAGE: usize = 4 << 20;
/// What stands around the id of a beat.
const AROUND: usize = 26;

impl Beats {
    /// Adds the beats of one caller.
    pub(crate) fn add(&mut self, beats: Vec<Beat>, reply: Reply<Vec<BeatOutcome>>) {
        self.0.push_back((beats, reply));
    }

    /// The next message, if anybody waits.
    pub(crate) fn batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut size = 0;
        while let Some((beats, _)) = self.0.front() {
            size += beats.iter().map(|beat| beat.id.as_str().len() + AROUND).sum::<usize>();
            if size > MESSAGE && !batch.callers.is_empty() {
                break;
            }
            let Some((beats, reply)) = self.0.pop_front() else { break };
            batch.callers.push((beats.len(), reply));
            batch.beats.extend(beats.into_iter().map(|beat| (beat.id, beat.epoch)));
        }
        (!batch.callers.is_empty()).then_some(batch)
    }

    pub(crate) fn refuse(self, error: impl Fn() -> Error) {
        self.0.into_iter().for_each(|(_, reply)| reply.send(Err(error())));
    }
}

impl Batch {
    /// The places of beats that were for nobody, as far as is known here.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = usize> {
        let places = self.outcomes.iter().enumerate().filter(|(_, outcome)| !is_kept(**outcome));
        places.map(|(place, _)| place)
    }

    pub(crate) fn answer(self) {
        let mut outcomes = self.outcomes.into_iter();
        for (count, reply) in self.callers {
            reply.send(Ok(outcomes.by_ref().take(count).collect()));
        }
    }

    pub(crate) fn refuse(self, error: impl Fn() -> Error) {
        self.callers.into_iter().for_each(|(_, reply)| reply.send(Err(error())));
    }
}

/// Whether a beat kept its lease.
pub(crate) fn is_kept(outcome: BeatOutcome) -> bool {
    matches!(outcome, BeatOutcome::Renewed | BeatOutcome::Revived)
}

/// Entries of ours in the log.
#[derive(Debug, Default)]
pub(crate) struct Written {
    waiting: BTreeMap<u64, Waiter>,
    /// What has come back, to be answered when everybody can see it.
    came: Vec<(Waiter, Option<Outcome>)>,
}

impl Written {
    pub(crate) fn note(&mut self, n: u64, waiter: Waiter) {
        self.waiting.insert(n, waiter);
    }

    /// An entry came back, with what it did.
    pub(crate) fn came_back(&mut self, n: u64, outcome: Option<Outcome>) {
        self.came.extend(self.waiting.remove(&n).map(|waiter| (waiter, outcome)));
    }

    pub(crate) fn take(&mut self) -> Vec<(Waiter, Option<Outcome>)> {
        std::mem::take(&mut self.came)
    }

    /// What was written before the entry `n` and has not come back.
    pub(crate) fn lost(&mut self, n: u64) -> Vec<Waiter> {
        let later = self.waiting.split_off(&n);
        std::mem::replace(&mut self.waiting, later).into_values().collect()
    }
}

impl Waiter {
    pub(crate) fn refuse(self, error: impl Fn() -> Error) {
        match self {
            Self::Barrier(replies, _) => {
                replies.into_iter().for_each(|reply| reply.send(Err(error())));
            }
            Self::Beats(batch) => batch.refuse(error),
            Self::Nobody => {}
            Self::Write(reply) => reply.send(Err(error())),
        }
    }
}

/// Messages of ours on the fanout. They come back in their order.
#[derive(Debug, Default)]
pub(crate) struct Said(VecDeque<Saying>);

#[derive(Debug)]
pub(crate) struct Saying {
    pub(crate) n: u64,
    pub(crate) at: Timestamp,
    pub(crate) batch: Option<Batch>,
    /// Whether everybody has it.
    pub(crate) confirmed: bool,
    /// Whether it came back.
    pub(crate) returned: bool,
}

impl Said {
    pub(crate) fn note(&mut self, n: u64, at: Timestamp, batch: Option<Batch>) {
        self.0.push_back(Saying { n, at, batch, confirmed: false, returned: false });
    }

    /// Everybody has the message.
    pub(crate) fn confirm(&mut self, n: u64) {
        let found = self.0.iter_mut().find(|saying| saying.n == n);
        found.into_iter().for_each(|saying| saying.confirmed = true);
    }

    /// The message came back.
    pub(crate) fn returned(&mut self, n: u64) -> Option<&mut Saying> {
        let saying = self.0.iter_mut().find(|saying| saying.n == n)?;
        saying.returned = true;
        Some(saying)
    }

    /// The next message that is through.
    pub(crate) fn done(&mut self) -> Option<Saying> {
        self.0.pop_front_if(|saying| saying.confirmed && saying.returned)
    }

    /// The oldest message that has not come back.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.0.iter().find(|saying| !saying.returned).map(|saying| saying.at)
    }

    /// When something was said last that has not come back.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.0.iter().rev().find(|saying| !saying.returned).map(|saying| saying.at)
    }

    /// Whether beats are under way.
    pub(crate) fn has_beats(&self) -> bool {
        self.0.iter().any(|saying| saying.batch.is_some())
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Batch> {
        self.0.drain(..).filter_map(|saying| saying.batch)
    }
}
