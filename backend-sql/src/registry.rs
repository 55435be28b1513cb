//! The trait on top of the lanes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use registry_api::kernel::{Command, Outcome};
use registry_api::{
    Beat, BeatOutcome, Capabilities, Capability, Clock, Guard, Info, InstanceRef, InstanceSpec,
    Lease, Limits, Owner, Query, Registration, Registry, Result, Scope, ServiceName, ServiceRecord,
    View, WatchFrom, WatchStream,
};

use crate::beats::Beats;
use crate::following::Following;
use crate::lane::Lane;
use crate::options::SqlOptions;
use crate::store::Store;
use crate::sweeper::{self, MIN_TTL};
use crate::writer::{MOST, Work, Writer, parts};

/// A handle on one namespace of a database.
///
/// Its tasks run on the runtime it was opened on, and end with it.
#[derive(Debug)]
pub struct SqlRegistry {
    info: Info,
    store: Arc<Store>,
    writer: Writer,
    beats: Beats,
    following: Arc<Following>,
    _sweeper: Lane,
}

/// A sweep that waits for its turn, its transaction, and the way to a watcher.
const DETECTION_SLACK: Duration = Duration::from_millis(250);

impl SqlRegistry {
    /// Opens a handle. `clock` is that of this process; it judges nobody.
    ///
    /// Makes the tables and the namespace if they are not there. Errors:
    /// `Unavailable` for a database that cannot be reached, `Unauthenticated` or
    /// `PermissionDenied` for one that refuses us, `Unsupported` for tables of a
    /// newer version.
    pub async fn open(options: SqlOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
        let in_memory = options.settings.is_in_memory();
        let store = Arc::new(Store::open(&options, clock).await?);
        let writer = Writer::start(Arc::clone(&store));
        let following = Arc::new(Following::new(Arc::clone(&store)));
        let sweeper =
            sweeper::sweep(Arc::clone(&store), writer.clone(), Arc::downgrade(&following));
        Ok(Guard::shared(Self {
            info: info(&store, in_memory),
            beats: Beats::start(Arc::clone(&store)),
            _sweeper: Lane::spawn(sweeper),
            store,
            writer,
            following,
        }))
    }

    async fn write(&self, command: Command) -> Result<Outcome> {
        self.writer.write(Work::Command(command)).await
    }
}

fn info(store: &Store, in_memory: bool) -> Info {
    let mut capabilities = Capabilities::none().with(Capability::Resume).with(Capability::Foreign);
    if !in_memory {
        capabilities = capabilities.with(Capability::Durable);
    }
    // A poll is no push, however short it is.
    if store.dialect.channel().is_some() {
        capabilities = capabilities.with(Capability::Push);
    }
    let limits = Limits::new()
        .with_ttl(MIN_TTL, Duration::from_millis(1))
        .with_detection_slack(DETECTION_SLACK)
        .with_watch_backlog(store.history);
    Info::new(store.dialect.name(), capabilities, limits)
}

#[async_trait]
impl Registry for SqlRegistry {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.write(Command::Register(registration)).await?.records()
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.write(Command::Deregister(owner.clone(), services.to_vec())).await?.done()
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        let parts = parts(instances).into_iter();
        let writes = parts.map(|part| self.write(Command::Connect(part.to_vec())));
        let mut leases = Vec::with_capacity(instances.len());
        for outcome in try_join_all(writes).await? {
            leases.extend(outcome.leases()?);
        }
        Ok(leases)
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.beats.beat(beats).await
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        let parts = instances.chunks(MOST);
        let writes = parts.map(|part| self.write(Command::Disconnect(part.to_vec())));
        try_join_all(writes).await?.into_iter().try_for_each(Outcome::done)
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.store.resolve(query).await
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        let interval = self.info.limits.progress_interval;
        let watch = self.following.watch(scope, from, interval).await?;
        // Somebody watches: leases are looked at more often.
        self.store.revived.notify_one();
        Ok(watch)
    }
}
