//! What the lanes of one handle share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use registry_api::kernel::Backoff;
use registry_api::{Clock, ErrorKind, Result, Timestamp};
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::clock::{ClockWatch, Reading};
use crate::dialect::{self, Dialect, Fault};
use crate::options::SqlOptions;
use crate::read::no_namespace;
use crate::schema;
use crate::session::Session;
use crate::statement::Value;
use crate::statements::{ADD_NAMESPACE, BOOTED, FIND_NAMESPACE, JUMPED};

/// One namespace of one database.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dialect: Arc<dyn Dialect>,
    /// The number of the namespace.
    pub(crate) ns: i64,
    /// The clock of this process: how long things take, never who is alive.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) history: usize,
    pub(crate) timeout: Duration,
    /// Something was written here, which the reader of news wants to know.
    pub(crate) written: Notify,
    /// A lease may have to be looked at earlier than planned.
    pub(crate) revived: Notify,
    watch: ClockWatch,
    writing: Option<Mutex<()>>,
    skipped: AtomicU64,
}

impl Store {
    /// Connects, and makes the tables and the namespace if they are not there.
    pub(crate) async fn open(options: &SqlOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let dialect = dialect::open(&options.settings)?;
        Ok(Self {
            ns: patiently(|| prepare(&dialect, options), &*clock).await?,
            clock,
            history: options.history,
            timeout: options.settings.timeout,
            written: Notify::new(),
            revived: Notify::new(),
            watch: ClockWatch::default(),
            writing: dialect.has_one_writer().then(Mutex::default),
            skipped: AtomicU64::new(0),
            dialect,
        })
    }

    /// A connection for statements that must not take longer than others.
    pub(crate) async fn session(&self) -> Result<Session> {
        Session::open(&self.dialect, self.timeout).await
    }

    /// The turn to write, where the writers of this process would only get in
    /// each other's way.
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.writing {
            Some(writing) => Some(writing.lock().await),
            None => None,
        }
    }

    /// Whether the judging clock jumped before this reading.
    pub(crate) fn has_jumped(&self, asked: Timestamp, now: i64, term: i64) -> bool {
        self.watch.has_jumped(Reading { asked, answered: self.clock.now(), now, term })
    }

    /// Whether what was judged at `now`, asked at `asked`, can be believed. If the
    /// judging clock jumped, everybody gets a full ttl, and it cannot.
    pub(crate) async fn believes(&self, asked: Timestamp, now: i64, term: i64) -> Result<bool> {
        if !self.has_jumped(asked, now, term) {
            return Ok(true);
        }
        tracing::warn!(
            database = self.dialect.name(),
            "the database's clock jumped: every lease gets a full ttl from now"
        );
        let _turn = self.turn().await;
        self.session().await?.run(JUMPED, &[Value::Int(term)]).await?;
        Ok(false)
    }

    /// Notes records that could not be understood, and were passed over.
    pub(crate) fn skip(&self, count: u64, what: &'static str, key: &str) {
        if count > 0 {
            let total = self.skipped.fetch_add(count, Ordering::Relaxed) + count;
            // A hostile hand must not fill the log too.
            if total > 10 && !total.is_power_of_two() {
                return;
            }
            tracing::warn!(what, key, total, "a stored record cannot be understood; passed over");
        }
    }
}

/// How long others who open the same database at the same time may be in the way.
const CROWD: Duration = Duration::from_secs(10);

/// Tries until others are not in the way any more. SQLite does not wait for its
/// turn where several switch a new file to its log.
async fn patiently<T, F>(work: impl Fn() -> F, clock: &dyn Clock) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (first, most) = (Duration::from_millis(5), Duration::from_millis(500));
    let mut backoff = Backoff::new(first, most, fastrand::u64(..));
    let until = clock.now() + CROWD;
    loop {
        match work().await {
            Err(error) if error.kind() == ErrorKind::Overloaded && clock.now() < until => {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            done => return done,
        }
    }
}

/// Makes the tables and the namespace, if they are not there; its number.
async fn prepare(dialect: &Arc<dyn Dialect>, options: &SqlOptions) -> Result<i64> {
    schema::migrate(dialect).await?;
    let mut session = Session::open(dialect, options.settings.timeout).await?;
    if let Some(boot) = dialect.boot() {
        session.run(BOOTED, &[Value::Text(boot)]).await?;
    }
    namespace(&mut session, options.namespace.as_str()).await
}

/// The number of a namespace, which is made if it is new.
async fn namespace(session: &mut Session, name: &str) -> Result<i64> {
    if let Some(known) = find(session, name).await? {
        return Ok(known);
    }
    // The column has a sign; 0 looks forgotten.
    let era = fastrand::i64(1..i64::MAX);
    match session.run(ADD_NAMESPACE, &[name.into(), era.into()]).await {
        Ok(_) => {}
        Err(failed) if failed.fault == Fault::Taken => {} // Somebody was quicker.
        Err(failed) => return Err(failed.error),
    }
    find(session, name).await?.ok_or_else(no_namespace)
}

async fn find(session: &mut Session, name: &str) -> Result<Option<i64>> {
    let rows = session.rows(FIND_NAMESPACE, &[name.into()]).await?;
    Ok(rows.first().and_then(|row| row.int(0)))
}
