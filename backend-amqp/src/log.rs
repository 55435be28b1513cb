//! The fold of the log: from messages to a registry. No broker, no clock.
//!
//! Invariant: whoever has folded the same log up to the same entry has the same
//! registry, wherever it began to read.

use registry_api::kernel::{Command, Delist, Outcome, State};
use registry_api::{Era, InstanceRef};

use crate::draft::{Drafts, Snapshot};
use crate::record::{self, Entry, Envelope, Read, Records};

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
            Read::Entry(envelope, behind) => {
                self.enter(offset, *envelope, behind, body.len() as u64)
            }
        }
    }

    fn enter(&mut self, offset: u64, envelope: Envelope, behind: &[u8], bytes: u64) -> Taken {
        match &mut self.stage {
            Stage::Folding(folding) => folding.enter(self.me, offset, envelope, bytes),
            Stage::Gathering(gathering) => {
                let mine = (envelope.by == self.me).then_some(envelope.n);
                match gathering.enter(offset, envelope, behind, bytes) {
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
    fn enter(
        &mut self,
        offset: u64,
        envelope: Envelope,
        behind: &[u8],
        bytes: u64,
    ) -> Option<Snapshot> {
        if let Some(era) = envelope.era {
            self.hint = Some(Hint { era, from: envelope.from });
        }
        let Envelope { era: Some(era), entry: Entry::Snapshot(part), .. } = envelope else {
            self.waiting.push((offset, envelope));
            return None;
        };
        let first = self.first?;
        let snapshot = self.drafts.take(era, &part, record::records(behind)?, bytes)?;
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
            // What it says is known here: only that it is whole counts.
            let page = Records::default();
            if let Some(snapshot) = self.drafts.take(self.era, &part, page, bytes) {
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use registry_api::kernel::Catalogue;
    use registry_api::{
        Address, Epoch, InstanceId, InstanceSpec, Offer, Owner, Registration, RegistrationMode,
        ServiceName, ServiceSpec,
    };

    use super::*;
    use crate::draft;
    use crate::record::{FORMAT, Part, write, write_part};

    const ERA: Era = Era(5);
    const ME: u64 = 1;

    #[derive(Clone, Debug)]
    enum Op {
        Write(Entry),
        /// Of a log that never began.
        Void(Entry),
        Junk,
        /// Of what the log holds so far; its parts are written later.
        Snapshot,
        /// The next part of a snapshot.
        Part,
    }

    fn id(n: u8) -> InstanceId {
        InstanceId::parse(&format!("i{n}")).unwrap()
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let spec = |n: u8, epoch: Option<u64>, weight: u32| {
            let address = Address::parse("tcp://10.0.0.1:1").unwrap();
            let offer = Offer::new(ServiceName::parse("s").unwrap(), address).with_weight(weight);
            let mut spec = InstanceSpec::new(id(n), [offer]);
            spec.epoch = epoch.map(Epoch);
            spec
        };
        let life = |n: u8, epoch: u64| InstanceRef { id: id(n), epoch: Epoch(epoch) };
        let register = |name: u8| {
            let service = ServiceSpec::new(ServiceName::parse(&format!("s{name}")).unwrap());
            let owner = Owner::parse("o").unwrap();
            Registration::new(owner, RegistrationMode::Merge, vec![service])
        };
        let (ids, epochs) = (|| 0_u8..4, || 1_u64..4);
        prop_oneof![
            4 => (ids(), prop::option::of(epochs()), 0_u32..2)
                .prop_map(move |(n, epoch, weight)| Entry::Connect(vec![spec(n, epoch, weight)])),
            1 => (ids(), epochs()).prop_map(move |(n, e)| Entry::Disconnect(vec![life(n, e)])),
            1 => (ids(), epochs()).prop_map(move |(n, e)| Entry::Renew(vec![life(n, e)])),
            2 => (ids(), epochs(), 0_u64..4)
                .prop_map(|(n, epoch, g)| Entry::Delist(vec![(id(n), Epoch(epoch), g)])),
            1 => (0_u8..3).prop_map(move |name| Entry::Register(register(name))),
            1 => Just(Entry::Barrier),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => entry().prop_map(Op::Write),
            1 => entry().prop_map(Op::Void),
            1 => Just(Op::Junk),
            1 => Just(Op::Snapshot),
            6 => Just(Op::Part),
        ]
    }

    /// A log, and whoever wrote it: one that has read everything.
    struct Written {
        messages: Vec<(u64, Vec<u8>)>,
        reader: Log,
        /// Parts that are still to be written.
        parts: VecDeque<(Part, Records)>,
        offset: u64,
    }

    impl Written {
        fn begun() -> Self {
            let reader = Log::new(ME, 100);
            let mut written = Self { messages: vec![], reader, parts: VecDeque::new(), offset: 0 };
            for (part, page) in draft::parts(&Catalogue::new(ERA), 0, None, 0) {
                written.put_part(part, &page);
            }
            written
        }

        fn put_part(&mut self, part: Part, page: &Records) {
            let (n, entry) = (self.offset, Entry::Snapshot(part));
            let envelope = Envelope { by: ME, n, era: Some(ERA), from: None, entry };
            self.put_body(write_part(&envelope, page));
        }

        fn put(&mut self, era: Option<Era>, entry: Entry) {
            let n = self.offset;
            let body = write(&Envelope { by: ME, n, era, from: None, entry });
            self.put_body(body);
        }

        fn put_body(&mut self, body: Vec<u8>) {
            self.reader.take(self.offset, Some(FORMAT), &body);
            self.messages.push((self.offset, body));
            // Offsets grow, and leave some out.
            self.offset += 1 + self.offset % 3;
        }

        fn run(&mut self, op: Op) {
            match op {
                Op::Write(entry) => self.put(Some(ERA), entry),
                Op::Void(entry) => self.put(Some(Era(9)), entry),
                Op::Junk => self.put_body(b"junk".to_vec()),
                Op::Part => {
                    if let Some((part, page)) = self.parts.pop_front() {
                        self.put_part(part, &page);
                    }
                }
                Op::Snapshot => {
                    let folding = self.reader.folding().unwrap();
                    let after = folding.last.map(|last| last.offset);
                    let catalogue = folding.state.catalogue();
                    self.parts.extend(split(&draft::parts(catalogue, self.offset, after, 0)));
                }
            }
        }
    }

    /// A part for every instance, so that there are several.
    fn split(parts: &[(Part, Records)]) -> Vec<(Part, Records)> {
        let mut pages = Vec::new();
        for (_, page) in parts {
            pages.push(Records { services: page.services.clone(), lives: vec![] });
            let alone = |life: &(_, _)| Records { services: vec![], lives: vec![life.clone()] };
            pages.extend(page.lives.iter().map(alone));
        }
        let of = pages.len() as u32;
        let part = |part: usize| Part { part: part as u32, of, ..parts[0].0.clone() };
        pages.into_iter().enumerate().map(|(place, page)| (part(place), page)).collect()
    }

    fn all(log: &Log) -> Option<Vec<(Part, Records)>> {
        Some(draft::parts(log.folding()?.state.catalogue(), 0, None, 0))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn wherever_one_begins_to_read_the_registry_is_the_same(ops in vec(op(), 1..80)) {
            let mut written = Written::begun();
            ops.into_iter().for_each(|op| written.run(op));
            let hint = written.reader.hint().unwrap();
            let mut began = 0;
            for start in 0..written.messages.len() {
                let mut log = Log::new(2, 100);
                for (offset, body) in &written.messages[start..] {
                    log.take(*offset, Some(FORMAT), body);
                }
                if let Some(folding) = log.folding() {
                    prop_assert_eq!(all(&log), all(&written.reader), "from {}", start);
                    prop_assert_eq!(folding.last, written.reader.folding().unwrap().last);
                    began += 1;
                }
                let hinted = hint.from.unwrap_or(0) == written.messages[start].0;
                prop_assert!(!hinted || log.folding().is_some(), "the hint leads nowhere");
            }
            prop_assert!(began > 0);
        }

        #[test]
        fn no_message_makes_it_panic(format in prop::option::of("portolan/[0-9]{1,3}"), body: Vec<u8>) {
            let mut written = Written::begun();
            written.reader.take(7, format.as_deref(), &body);
            Log::new(1, 1).take(7, format.as_deref(), &body);
        }
    }
}
