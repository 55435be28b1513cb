//! One process at the log, for ever: it connects, reads, and begins again where
//! that breaks.

use std::sync::Arc;
use std::time::Duration;

use registry_api::kernel::{Backoff, Catalogue};
use registry_api::{Applied, Error, ErrorKind, InstanceRef, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::broker::{Broker, Lines, Message};
use crate::clocks::Clocks;
use crate::desk::Ask;
use crate::fault::again;
use crate::log::{Hint, Log, Taken};
use crate::names::Names;
use crate::options::AmqpOptions;
use crate::pending::Written;
use crate::record::{self, Entry, Envelope};
use crate::replica::Replica;

/// The longest between something of ours being sent and coming back, as long as
/// the connections are believed.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);

/// Before another try that somebody asks for, however many do.
const REST: Duration = Duration::from_millis(50);

/// How things stand.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Nothing is known yet.
    Beginning,
    Well,
    /// The broker was tried in vain, and is tried again. One that was reached may
    /// have started just now, and not have found its queues yet.
    Away {
        error: Arc<Error>,
        reached: bool,
    },
    /// For ever.
    Refused,
}

/// What one process knows, whichever connection it has.
pub(crate) struct Pursuit {
    pub(crate) options: AmqpOptions,
    pub(crate) names: Names,
    pub(crate) replica: Arc<Replica>,
    pub(crate) log: Log,
    /// Who we are.
    pub(crate) me: u64,
    /// The number of our last message.
    n: u64,
    /// What those who know nothing are to be told, while we know little more.
    pub(crate) hint: Option<Hint>,
    /// The registry of a log that is gone.
    pub(crate) rescued: Option<Catalogue>,
    pub(crate) written: Written,
    pub(crate) clocks: Clocks,
    /// Lives that may be over, to be forgotten when everybody can see it.
    pub(crate) ended: Vec<InstanceRef>,
    /// Something is to be shown.
    pub(crate) dirty: bool,
    /// It does not follow on what is shown.
    pub(crate) replaced: bool,
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Those that made us try again before it was time.
    pub(crate) held: Vec<Ask>,
    /// Whether the broker let us in.
    reached: bool,
    pub(crate) standing: watch::Sender<Standing>,
}

/// Why a connection is given up.
pub(crate) enum End {
    /// It broke; another one may work.
    Broken(Error),
    /// None will.
    Refused(Error),
    /// Nobody wants anything any more.
    Unwanted,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl Pursuit {
    pub(crate) fn new(
        options: AmqpOptions,
        replica: Arc<Replica>,
        asks: mpsc::Receiver<Ask>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        let me = fastrand::u64(..);
        Self {
            names: Names::new(&options.prefix, &options.namespace),
            log: Log::new(me, options.history),
            options,
            replica,
            me,
            n: 0,
            hint: None,
            rescued: None,
            written: Written::default(),
            clocks: Clocks::default(),
            ended: Vec::new(),
            dirty: false,
            replaced: false,
            asks,
            held: Vec::new(),
            reached: false,
            standing,
        }
    }

    /// Runs until nobody wants anything any more.
    pub(crate) async fn run(mut self) {
        let (first, most) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, most, fastrand::u64(..));
        for host in (0..self.options.hosts.len()).cycle() {
            match self.connected(host).await {
                Ok(()) | Err(End::Unwanted) => return,
                Err(End::Refused(error)) => return self.refuse(error).await,
                Err(End::Broken(error)) if self.was_well() => {
                    tracing::warn!(error = ?error, "the broker is gone; connecting again");
                    backoff.reset();
                }
                Err(End::Broken(error)) => {
                    tracing::debug!(error = ?error, "the broker cannot be used");
                    self.give_up(&error);
                    if self.away(&error, backoff.next_delay()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Connects to one host, and works until that breaks.
    async fn connected(&mut self, host: usize) -> Result<(), End> {
        self.reached = false;
        let lines = Lines::open(&self.options, &self.options.hosts[host]).await?;
        self.reached = true;
        let (broker, events) = Broker::open(lines, &self.options, &self.names).await?;
        let done = self.work(broker, events).await;
        // Whatever it was told and not shown yet is right all the same.
        self.show();
        done
    }

    /// Whether the last connection worked; it does not any more.
    fn was_well(&self) -> bool {
        self.standing.send_if_modified(|standing| {
            let well = matches!(standing, Standing::Well);
            if well {
                *standing = Standing::Beginning;
            }
            well
        })
    }

    /// Answers whoever waits for what may be lost.
    fn give_up(&mut self, error: &Error) {
        for waiter in self.written.lost(u64::MAX) {
            waiter.refuse(|| again(error, Applied::Unknown));
        }
        let (error, reached) = (Arc::new(again(error, Applied::No)), self.reached);
        self.standing.send_replace(Standing::Away { error, reached });
    }

    /// Answers who asked, and waits until it is time to try again: sooner, if
    /// somebody asks meanwhile.
    async fn away(&mut self, error: &Error, delay: Duration) -> Result<(), End> {
        let answers = self.held.drain(..).chain(std::iter::from_fn(|| self.asks.try_recv().ok()));
        answers.for_each(|ask| ask.refuse(again(error, Applied::No)));
        match timeout(delay, self.asks.recv()).await {
            Ok(None) => Err(End::Unwanted),
            Ok(Some(ask)) => {
                self.held.push(ask);
                sleep(REST).await;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Says for ever that nothing can be done.
    async fn refuse(mut self, error: Error) {
        for waiter in self.written.lost(u64::MAX) {
            waiter.refuse(|| again(&error, Applied::Unknown));
        }
        self.replica.refuse(again(&error, Applied::No));
        self.standing.send_replace(Standing::Refused);
        while let Some(ask) = self.asks.recv().await {
            ask.refuse(again(&error, Applied::No));
        }
    }

    /// The number of our next message.
    pub(crate) fn number(&mut self) -> u64 {
        self.n += 1;
        self.n
    }

    /// An entry of ours as the body of a message, and its number.
    pub(crate) fn entry(&mut self, entry: Entry) -> (u64, Vec<u8>) {
        let envelope = self.envelope(entry);
        (envelope.n, record::write(&envelope))
    }

    /// An entry of ours, with what we know.
    pub(crate) fn envelope(&mut self, entry: Entry) -> Envelope {
        let hint = self.log.hint().or(self.hint);
        let (era, from) = (hint.map(|hint| hint.era), hint.and_then(|hint| hint.from));
        Envelope { by: self.me, n: self.number(), era, from, entry }
    }

    /// Takes a message of the log; the number of the entry, if it was ours.
    pub(crate) fn take(&mut self, message: &Message) -> Result<Option<u64>, End> {
        match self.log.take(message.offset, message.format(), message.body()) {
            Taken::Began => {
                (self.dirty, self.replaced) = (true, true);
                Ok(None)
            }
            Taken::Junk => {
                self.replica.skip(&format_args!("log {}", message.offset));
                Ok(None)
            }
            Taken::Mine(n) => {
                self.written.came_back(n, None);
                Ok(Some(n))
            }
            Taken::Newer(format) => Err(End::Refused(newer(&format))),
            Taken::Nothing => Ok(None),
            Taken::Wrote(wrote) => {
                self.lease(&wrote);
                self.dirty = true;
                self.ended.extend(wrote.ended);
                if let Some(n) = wrote.mine {
                    self.written.came_back(n, Some(wrote.outcome));
                }
                Ok(wrote.mine)
            }
        }
    }
}

fn newer(format: &str) -> Error {
    let message = "the log is written by a newer version; this one has to be upgraded";
    Error::new(ErrorKind::Unsupported, message).with("format", format).with("known", record::FORMAT)
}
