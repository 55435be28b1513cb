//! The loop of a process that is connected: it moves what callers want to the
//! broker, and what the broker says to them.

mod beats;
mod drafting;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::Event;
use lapin::message::Delivery;
use registry_api::kernel::{Command, Outcome};
use registry_api::{Applied, Error, ErrorKind, Result, Timestamp};

use crate::broker::{Broker, Events, Message, Reading, heard};
use crate::desk::{Ask, Reply};
use crate::fault::{fault, silent};
use crate::pending::{Batch, Beats, Said, Waiter};
use crate::pursuit::{End, PATIENCE, Pursuit, Standing};
use crate::record::{self, Entry, MOST};
use crate::speech::{self, Say, Speech};

/// Something of ours comes back at least this often, or the broker is doubted.
const BEACON: Duration = Duration::from_secs(1);
/// Messages that are taken before anything else is done.
const GULP: usize = 512;

/// What is under way over one connection.
pub(crate) struct Pump<'a> {
    pub(crate) pursuit: &'a mut Pursuit,
    pub(crate) broker: Broker,
    events: Events,
    reading: Reading,
    sending: FuturesUnordered<BoxFuture<'static, Result<Sent>>>,
    said: Said,
    said_last: Timestamp,
    /// Beats that go with the next message, or one after it.
    beats: Beats,
    /// Readers that wait for the next barrier, and whether one is under way.
    readers: Vec<Reply<()>>,
    barrier: bool,
    /// Readers whose barrier came back before their beacon did.
    unheard: Vec<(Timestamp, Vec<Reply<()>>)>,
    /// Why the broker takes nothing, while it does not.
    blocked: Option<String>,
    /// Since when messages that do not come back mean something.
    believed: Timestamp,
    /// Somebody has read more of the log than we have, since when.
    behind: Option<(Timestamp, u64)>,
    /// When a snapshot is to be begun; when one by somebody else is given up.
    draft: Option<Timestamp>,
    timer: Timer,
}

/// When it rings, and what rings then.
type Timer = (Timestamp, BoxFuture<'static, ()>);

fn never() -> Timer {
    (Timestamp::from_nanos(u64::MAX), std::future::pending().boxed())
}

/// What the broker has taken.
#[derive(Clone, Copy)]
enum Sent {
    Entry,
    Speech(u64),
    Draft,
}

impl Pursuit {
    /// Works over `broker` until it breaks.
    pub(crate) async fn work(&mut self, mut broker: Broker, events: Events) -> Result<(), End> {
        let begun = async {
            let reading = self.attach(&broker).await?;
            self.inform(&mut broker).await?;
            Ok(reading)
        };
        let reading = match begun.await {
            Ok(reading) => reading,
            Err(end) => {
                broker.break_off();
                return Err(end);
            }
        };
        let now = self.replica.clock.now();
        let mut pump = Pump {
            pursuit: self,
            broker,
            events,
            reading,
            sending: FuturesUnordered::new(),
            said: Said::default(),
            said_last: now,
            beats: Beats::default(),
            readers: Vec::new(),
            barrier: false,
            unheard: Vec::new(),
            blocked: None,
            believed: now,
            behind: None,
            draft: None,
            timer: never(),
        };
        let end = pump.begin().await;
        pump.end(&end);
        Err(end)
    }
}

impl Pump<'_> {
    async fn begin(&mut self) -> End {
        self.beacon();
        // Leases are judged from here on; before, they were not known.
        let heard = async {
            while self.said.oldest().is_some() {
                self.step().await?;
            }
            self.pursuit.compare();
            self.flush();
            self.pursuit.standing.send_replace(Standing::Well);
            std::mem::take(&mut self.pursuit.held).into_iter().for_each(|ask| self.handle(ask));
            loop {
                self.step().await?;
            }
        };
        let Err(end): Result<std::convert::Infallible, End> = heard.await;
        end
    }

    /// Takes whatever comes first.
    async fn step(&mut self) -> Result<(), End> {
        let due = self.wake();
        self.set_timer(due);
        tokio::select! {
            message = self.reading.next() => self.read(&message?)?,
            delivery = heard(&mut self.broker.beats) => self.listen(&delivery?)?,
            Some(sent) = self.sending.next() => self.confirmed(sent?)?,
            ask = self.pursuit.asks.recv() => {
                let ask = ask.ok_or(End::Unwanted)?;
                // Whoever was answered together asks together again, if he is let: the
                // broker writes what comes at once at once.
                tokio::task::yield_now().await;
                self.asked(ask);
            }
            Some(event) = self.events.next() => self.event(event)?,
            () = &mut self.timer.1 => self.timer = never(),
        }
        self.forgive(due);
        self.tick()?;
        self.flush();
        Ok(())
    }

    /// Who stood still itself until long after something was due has not read yet what
    /// came meanwhile, and judges nobody by that.
    fn forgive(&mut self, due: Timestamp) {
        let now = self.pursuit.replica.clock.now();
        if now.since(due) > PATIENCE / 2 {
            self.believed = now;
            if let Some((since, _)) = &mut self.behind {
                *since = now;
            }
        }
    }

    /// Sets the timer, unless it rings early enough anyway: most of the time it does.
    fn set_timer(&mut self, wake: Timestamp) {
        if wake < self.timer.0 {
            let clock = Arc::clone(&self.pursuit.replica.clock);
            self.timer = (wake, async move { clock.sleep_until(wake).await }.boxed());
        }
    }

    /// Folds a message of the log, and those that are there already.
    fn read(&mut self, message: &Message) -> Result<(), End> {
        self.fold(message)?;
        for _ in 0..GULP {
            match self.reading.next().now_or_never() {
                Some(message) => self.fold(&message?)?,
                None => break,
            }
        }
        let read = self.pursuit.log.folding().and_then(|folding| folding.last);
        self.behind.take_if(|(_, there)| read.is_some_and(|last| last.offset >= *there));
        Ok(())
    }

    fn fold(&mut self, message: &Message) -> Result<(), End> {
        self.pursuit.take(message)?;
        if let Some(acknowledged) = self.reading.acknowledge(message) {
            self.sending.push(acknowledged.map(|done| done.map(|()| Sent::Entry)).boxed());
        }
        Ok(())
    }

    fn listen(&mut self, delivery: &Delivery) -> Result<(), End> {
        self.hear(delivery);
        for _ in 0..GULP {
            match heard(&mut self.broker.beats).now_or_never() {
                Some(delivery) => self.hear(&delivery?),
                None => break,
            }
        }
        Ok(())
    }

    fn hear(&mut self, delivery: &Delivery) {
        let Some(speech) = self.pursuit.understand(delivery) else { return };
        if speech.by == self.pursuit.me {
            return self.hear_own(speech.n);
        }
        self.compare_reading(&speech);
        match speech.say {
            Say::Beats(beats) => drop(self.pursuit.hear(&beats)),
            Say::Who(queue) => {
                let here = Say::Here(self.broker.queue.clone());
                self.tell(&queue, here);
            }
            Say::Ask(queue) => {
                let ends = Say::Ends(self.pursuit.ends());
                self.tell(&queue, ends);
            }
            Say::Beacon | Say::Ends(_) | Say::Here(_) => {}
        }
    }

    /// Notes how far another one has read: a consumer that is silent shows here.
    fn compare_reading(&mut self, speech: &Speech) {
        let ours = self.pursuit.log.folding().and_then(|folding| folding.last);
        let ours = ours.map(|last| last.offset);
        if self.behind.is_none() && speech.read > ours {
            self.behind = speech.read.map(|there| (self.pursuit.replica.clock.now(), there));
        }
    }

    /// Takes a confirmation, and those that are there already.
    fn confirmed(&mut self, sent: Sent) -> Result<(), End> {
        self.sent(sent);
        while let Some(Some(sent)) = self.sending.next().now_or_never() {
            self.sent(sent?);
        }
        Ok(())
    }

    fn sent(&mut self, sent: Sent) {
        match sent {
            Sent::Draft => self.draft = None,
            Sent::Entry => {}
            Sent::Speech(n) => self.said.confirm(n),
        }
    }

    fn asked(&mut self, ask: Ask) {
        self.handle(ask);
        while let Ok(ask) = self.pursuit.asks.try_recv() {
            self.handle(ask);
        }
    }

    fn handle(&mut self, ask: Ask) {
        if ask.is_given_up() {
            return;
        }
        if let Some(reason) = &self.blocked {
            return ask.refuse(full(reason));
        }
        match ask {
            Ask::Barrier(reply) => self.readers.push(reply),
            Ask::Beat(beats, reply) => self.beats.add(beats, reply),
            Ask::Write(command, reply) => self.write(command, reply),
        }
    }

    fn write(&mut self, command: Command, reply: Reply<Outcome>) {
        let (n, body) = self.pursuit.entry(command.into());
        if body.len() > MOST {
            // Batches of instances are split before; declarations belong together.
            let rule = format!("must have at most {MOST} bytes in one registration");
            return reply.send(Err(Error::invalid("services", rule).with("bytes", body.len())));
        }
        self.append(n, body, Waiter::Write(reply));
    }

    /// Appends an entry of ours to the log.
    fn append(&mut self, n: u64, body: Vec<u8>, waiter: Waiter) {
        self.pursuit.written.note(n, waiter);
        let appended = self.broker.append(record::FORMAT, body);
        self.sending.push(appended.map(|done| done.map(|()| Sent::Entry)).boxed());
    }

    /// Says something that comes back to us too.
    fn say(&mut self, say: Say, batch: Option<Batch>) {
        let (n, body) = self.pursuit.speak(say);
        self.said_last = self.pursuit.replica.clock.now();
        self.said.note(n, self.said_last, batch);
        let said = self.broker.say(speech::FORMAT, body);
        self.sending.push(said.map(move |done| done.map(|()| Sent::Speech(n))).boxed());
    }

    fn beacon(&mut self) {
        self.say(Say::Beacon, None);
    }

    /// Says something to one other, who may be gone.
    fn tell(&mut self, queue: &str, say: Say) {
        let (_, body) = self.pursuit.speak(say);
        let told = self.broker.tell(queue, speech::FORMAT, body);
        self.sending.push(told.map(|_| Ok(Sent::Entry)).boxed());
    }

    fn event(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(reason, "the broker takes no messages");
                self.blocked = Some(reason);
            }
            Event::ConnectionUnblocked => {
                tracing::info!("the broker takes messages again");
                self.blocked = None;
                self.believed = self.pursuit.replica.clock.now();
            }
            Event::Error(error) => return Err(fault(error).into()),
            _ => {}
        }
        Ok(())
    }

    /// When something is to be done next that nobody asks for. Whatever is due
    /// then, [`tick`](Self::tick) does, so that it is not due any more.
    fn wake(&self) -> Timestamp {
        let gone = self.pursuit.clocks.gone.as_ref().map(|(due, _)| *due);
        let behind = self.behind.map(|(since, _)| since + PATIENCE);
        // A broker that takes nothing is not asked anything.
        let asked = self.blocked.is_none().then(|| {
            let beacon = match self.said.oldest() {
                Some(oldest) => oldest.max(self.believed) + PATIENCE,
                None => self.said_last + BEACON,
            };
            let judged = self.pursuit.clocks.planned.filter(|planned| !self.is_asked(*planned));
            [Some(beacon), judged, self.draft].into_iter().flatten().min()
        });
        let due = [gone, behind, asked.flatten()].into_iter().flatten().min();
        due.unwrap_or(Timestamp::from_nanos(u64::MAX))
    }

    /// Whether a message is under way that will tell of everything until `time`.
    fn is_asked(&self, time: Timestamp) -> bool {
        self.said.newest().is_some_and(|newest| newest >= time)
    }

    /// Does what is due.
    fn tick(&mut self) -> Result<(), End> {
        let now = self.pursuit.replica.clock.now();
        let over = |since: Timestamp| now >= since + PATIENCE;
        let unanswered = self.said.oldest().map(|oldest| oldest.max(self.believed));
        if self.blocked.is_none() && unanswered.is_some_and(over) {
            return Err(silent().into());
        }
        if self.behind.is_some_and(|(since, _)| over(since)) {
            return Err(stuck().into());
        }
        let due = self.pursuit.clocks.planned.is_some_and(|planned| planned <= now);
        let unasked = due && !self.pursuit.clocks.planned.is_some_and(|p| self.is_asked(p));
        let quiet = self.said.oldest().is_none() && now >= self.said_last + BEACON;
        if self.blocked.is_none() && (unasked || quiet) {
            self.beacon();
        }
        self.pursuit.judge();
        if let Some(delist) = self.pursuit.proposal(now) {
            let (n, body) = self.pursuit.entry(delist.into());
            self.append(n, body, Waiter::Nobody);
        }
        self.draft(now);
        Ok(())
    }

    /// Shows what is new, answers who can see it now, and sends what waits.
    fn flush(&mut self) {
        self.pursuit.show();
        for (waiter, outcome) in self.pursuit.written.take() {
            self.came_back(waiter, outcome);
        }
        while let Some(saying) = self.said.done() {
            if let Some(batch) = saying.batch {
                self.through(batch);
            }
        }
        let horizon = self.pursuit.replica.horizon();
        for (_, readers) in self.unheard.extract_if(.., |(time, _)| *time <= horizon) {
            readers.into_iter().for_each(|reader| reader.send(Ok(())));
        }
        if !self.said.has_beats()
            && let Some(batch) = self.beats.batch()
        {
            self.say(Say::Beats(batch.beats.clone()), Some(batch));
        }
        if !self.readers.is_empty() && !self.barrier {
            self.bar();
        }
    }

    /// Puts a barrier into the log for all readers that wait.
    fn bar(&mut self) {
        let readers = std::mem::take(&mut self.readers);
        let heard = self.pursuit.is_anybody_silent().then(|| {
            self.beacon();
            self.said_last
        });
        let (n, body) = self.pursuit.entry(Entry::Barrier);
        self.barrier = true;
        self.append(n, body, Waiter::Barrier(readers, heard));
    }

    fn came_back(&mut self, waiter: Waiter, outcome: Option<Outcome>) {
        match (waiter, outcome) {
            (Waiter::Barrier(readers, heard), _) => {
                self.barrier = false;
                match heard.filter(|time| *time > self.pursuit.replica.horizon()) {
                    Some(time) => self.unheard.push((time, readers)),
                    None => readers.into_iter().for_each(|reader| reader.send(Ok(()))),
                }
            }
            (Waiter::Beats(batch), outcome) => self.decided(batch, outcome),
            (Waiter::Write(reply), Some(outcome)) => reply.send(Ok(outcome)),
            (Waiter::Write(reply), None) => reply.send(Err(another())),
            (Waiter::Nobody, _) => {}
        }
    }

    /// Gives everything up that was only on this connection.
    fn end(&mut self, end: &End) {
        let reason = match end {
            End::Broken(error) | End::Refused(error) => error.to_string(),
            End::Unwanted => "the handle was closed".to_owned(),
        };
        let lost = || {
            Error::new(ErrorKind::Unavailable, format!("the connection was lost: {reason}"))
                .applied(Applied::Unknown)
        };
        self.said.drain().for_each(|batch| batch.refuse(lost));
        std::mem::take(&mut self.beats).refuse(lost);
        let unheard = self.unheard.drain(..).flat_map(|(_, readers)| readers);
        unheard.chain(self.readers.drain(..)).for_each(|reader| reader.send(Err(lost())));
        if !matches!(end, End::Unwanted) {
            self.broker.break_off();
        }
    }
}

/// The answer while the broker takes nothing.
fn full(reason: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "the broker takes no messages").with("reason", reason)
}

/// What was written belongs to a log that is gone.
pub(crate) fn another() -> Error {
    let message = "the log is another one now";
    Error::new(ErrorKind::Unavailable, message).applied(Applied::Unknown)
}

fn stuck() -> Error {
    Error::new(ErrorKind::Unavailable, "the broker does not show what others read")
}
