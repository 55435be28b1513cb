//! How a process gets to the end of the log: from where it was, or from a
//! snapshot, or by founding one.

use std::time::Duration;

use registry_api::kernel::Catalogue;
use registry_api::{Applied, Era, Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::broker::{Broker, Message, Reading, Start};
use crate::draft;
use crate::fault::silent;
use crate::log::{Hint, Log, Place};
use crate::pump::another;
use crate::pursuit::{End, PATIENCE, Pursuit};
use crate::record::{self, Entry, Envelope};

/// A log that has anything in it shows its end at once.
const GLANCE: Duration = Duration::from_millis(150);

impl Pursuit {
    /// Reads the log to its end, and goes on from there.
    pub(crate) async fn attach(&mut self, broker: &Broker) -> Result<Reading, End> {
        if let Some(last) = self.log.folding().and_then(|folding| folding.last) {
            if let Some(reading) = self.resume(broker, last).await? {
                return Ok(reading);
            }
            tracing::warn!("the log is another one; watchers begin anew");
            self.rescued = self.log.folding().map(|f| f.state.catalogue().clone());
        }
        self.hint = glance(broker, self.me).await?;
        let start = match self.hint.and_then(|hint| hint.from) {
            Some(offset) => Start::At(offset),
            None => Start::First,
        };
        let mut found = self.gather(broker, start).await?;
        if found.is_none() && matches!(start, Start::At(_)) {
            found = self.gather(broker, Start::First).await?;
        }
        let reading = found.ok_or_else(|| match self.log.first() {
            Some(_) => headless(),
            None => silent(),
        })?;
        self.rescued = None;
        // What was on its way into another log does not get here.
        self.written.lost(u64::MAX).into_iter().for_each(|waiter| waiter.refuse(another));
        Ok(reading)
    }

    /// Reads on after the entry `last`, if that is where it was.
    async fn resume(&mut self, broker: &Broker, last: Place) -> Result<Option<Reading>, End> {
        let mut reading = broker.read(Start::At(last.offset)).await?;
        let mine = self.knock(broker).await?;
        let Ok(first) = timeout(PATIENCE, reading.next()).await else {
            // A log that is shorter than it was shows nothing.
            return match self.reaches(broker, last.offset).await? {
                true => Err(silent().into()),
                false => Ok(None),
            };
        };
        let first = first?;
        let place = Place { offset: first.offset, mark: record::mark(first.body()) };
        if place != last {
            return Ok(None);
        }
        self.read_until(&mut reading, mine).await?;
        // What was written before and is not here may come late, or never.
        let unknown = || silent().applied(Applied::Unknown);
        self.written.lost(mine).into_iter().for_each(|waiter| waiter.refuse(unknown));
        Ok(Some(reading))
    }

    /// Whether the end of the log is after `offset`.
    async fn reaches(&mut self, broker: &Broker, offset: u64) -> Result<bool, End> {
        let mut reading = broker.read(Start::Last).await?;
        let mine = self.knock(broker).await?;
        loop {
            let message = patient(&mut reading).await?;
            let is_mine = matches!(
                record::read(message.format(), message.body()),
                record::Read::Entry(envelope, _) if envelope.by == self.me && envelope.n == mine
            );
            if is_mine {
                return Ok(message.offset > offset);
            }
        }
    }

    /// Reads from `start` to the end, and founds a log that has nothing in it.
    /// None where a registry cannot be made of what is there.
    async fn gather(&mut self, broker: &Broker, start: Start) -> Result<Option<Reading>, End> {
        self.log.forget();
        let mut reading = broker.read(start).await?;
        let mine = self.knock(broker).await?;
        let Ok(first) = timeout(PATIENCE, reading.next()).await else {
            return Ok(None); // The log ends before that.
        };
        if self.take(&first?)? != Some(mine) {
            self.read_until(&mut reading, mine).await?;
        }
        if self.log.folding().is_some() {
            return Ok(Some(reading));
        }
        if self.log.first() != Some(0) {
            return Ok(None);
        }
        self.found(broker).await?;
        while self.log.folding().is_none() {
            let message = patient(&mut reading).await?;
            self.take(&message)?;
        }
        Ok(Some(reading))
    }

    /// Writes something that does nothing, to know when it has come back.
    async fn knock(&mut self, broker: &Broker) -> Result<u64> {
        let (n, body) = self.entry(Entry::Barrier);
        append(broker, body).await?;
        Ok(n)
    }

    async fn read_until(&mut self, reading: &mut Reading, mine: u64) -> Result<(), End> {
        loop {
            let message = patient(reading).await?;
            if self.take(&message)? == Some(mine) {
                return Ok(());
            }
        }
    }

    /// Begins a log: with nothing, or with what is known of one that is gone.
    /// Several may try; the first whose snapshot is whole has founded it.
    async fn found(&mut self, broker: &Broker) -> Result<()> {
        let era = Era(fastrand::u64(1..=i64::MAX as u64));
        let catalogue = self.rescued.clone().unwrap_or_else(|| Catalogue::new(era));
        let base = catalogue.revision().number;
        tracing::info!(log = self.names.log, base, "a log is founded");
        for (part, page) in draft::parts(&catalogue, fastrand::u64(..), None, base) {
            let (by, n) = (self.me, self.number());
            let entry = Entry::Snapshot(part);
            let envelope = Envelope { by, n, era: Some(era), from: None, entry };
            append(broker, record::write_part(&envelope, &page)).await?;
        }
        Ok(())
    }
}

/// What those say at the end of the log who know more.
async fn glance(broker: &Broker, me: u64) -> Result<Option<Hint>> {
    let mut reading = broker.read(Start::Last).await?;
    let mut log = Log::new(me, 1);
    while let Ok(message) = timeout(GLANCE, reading.next()).await {
        let message = message?;
        log.take(message.offset, message.format(), message.body());
        if log.hint().is_some() {
            break;
        }
    }
    Ok(log.hint())
}

/// The next message, which is known to come.
async fn patient(reading: &mut Reading) -> Result<Message> {
    let message = timeout(PATIENCE, reading.next()).await.unwrap_or_else(|_| Err(silent()))?;
    if let Some(acknowledged) = reading.acknowledge(&message) {
        acknowledged.await?;
    }
    Ok(message)
}

/// A broker that takes nothing is not waited for.
async fn append(broker: &Broker, body: Vec<u8>) -> Result<()> {
    let appended = timeout(PATIENCE, broker.append(record::FORMAT, body)).await;
    appended.unwrap_or_else(|_| Err(silent()))
}

fn headless() -> Error {
    let message = "the log begins in the middle, and has no snapshot; delete its queue";
    Error::new(ErrorKind::Corrupt, message)
}
