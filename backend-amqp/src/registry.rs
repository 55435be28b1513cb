//! The trait on top of the parts.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::kernel::Command;
use registry_api::{
    Applied, Beat, BeatOutcome, Capabilities, Capability, Clock, Error, ErrorKind, Guard, Info,
    InstanceRef, InstanceSpec, Lease, Limits, Owner, Published, Query, Registration, Registry,
    Result, Scope, ServiceName, ServiceRecord, View, WatchFrom, WatchStream,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::desk::Desk;
use crate::fault::{again, silent};
use crate::options::AmqpOptions;
use crate::pursuit::{Pursuit, Standing};
use crate::replica::Replica;

/// A handle on one namespace at a broker.
///
/// Its task runs on the runtime it was opened on, and ends with it.
pub struct AmqpRegistry {
    info: Info,
    desk: Desk,
    replica: Arc<Replica>,
    _pursuit: AbortOnDropHandle<()>,
}

/// A beacon has to come back, and one of all processes has to propose.
const DETECTION_SLACK: Duration = Duration::from_millis(200);
/// What one entry of the log holds at most, about, where a batch can be split.
const ENTRY: usize = 1 << 20;

impl AmqpRegistry {
    /// Opens a handle: returns when the log has been read to its end. `clock` is
    /// that of this process; leases are judged by it.
    ///
    /// Errors: `Unavailable` where no host can be reached, `Unauthenticated` or
    /// `PermissionDenied` where the broker refuses us, `Unsupported` where the log
    /// was written by a newer version.
    pub async fn open(options: AmqpOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
        let replica = Arc::new(Replica::new(clock, options.history));
        let (desk, asks) = Desk::new(options.timeout);
        let (standing, stands) = watch::channel(Standing::Beginning);
        let patience = 2 * options.timeout;
        let history = options.history;
        let pursuit = Pursuit::new(options, Arc::clone(&replica), asks, standing);
        let pursuit = AbortOnDropHandle::new(tokio::spawn(pursuit.run()));
        let last = stands.clone();
        match timeout(patience, begun(stands, &replica)).await {
            Ok(begun) => begun?,
            Err(_) => return Err(last_error(&last.borrow())),
        }
        let limits =
            Limits::new().with_detection_slack(DETECTION_SLACK).with_watch_backlog(history);
        let capabilities = Capability::ALL.into_iter();
        let capabilities = capabilities.fold(Capabilities::none(), Capabilities::with);
        let info = Info::new("amqp", capabilities, limits);
        Ok(Guard::shared(Self { info, desk, replica, _pursuit: pursuit }))
    }
}

/// Why it takes so long.
fn last_error(standing: &Standing) -> Error {
    match standing {
        Standing::Away { error, .. } => again(error, Applied::No),
        Standing::Beginning | Standing::Refused | Standing::Well => silent(),
    }
}

/// Returns when the log can be used, or when it is known that it cannot.
async fn begun(mut stands: watch::Receiver<Standing>, replica: &Replica) -> Result<()> {
    let decided = |standing: &Standing| match standing {
        Standing::Beginning => false,
        Standing::Away { error, reached } => !reached || !error.is_retryable(),
        Standing::Refused | Standing::Well => true,
    };
    let stands = stands.wait_for(decided).await;
    let closed = || Error::new(ErrorKind::Closed, "the handle was closed");
    match &*stands.map_err(|_| closed())? {
        Standing::Away { error, .. } => Err(again(error, Applied::No)),
        Standing::Refused => Err(replica.refusal().unwrap_or_else(closed)),
        Standing::Beginning | Standing::Well => Ok(()),
    }
}

#[async_trait]
impl Registry for AmqpRegistry {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.desk.write(Command::Register(registration)).await?.records()
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.desk.write(Command::Deregister(owner.clone(), services.to_vec())).await?.done()
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        let mut leases = Vec::with_capacity(instances.len());
        for part in parts(instances) {
            leases.extend(self.desk.write(Command::Connect(part.to_vec())).await?.leases()?);
        }
        Ok(leases)
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.desk.beat(beats.to_vec()).await
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.desk.write(Command::Disconnect(instances.to_vec())).await?.done()
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.desk.barrier().await?;
        self.replica.read(query)
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        self.desk.barrier().await?;
        let replica = Arc::clone(&self.replica);
        Ok(replica.follow(scope, from, self.info.limits.progress_interval))
    }
}

/// A batch in parts that make one entry each.
fn parts(specs: &[InstanceSpec]) -> Vec<&[InstanceSpec]> {
    let mut parts = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (place, spec) in specs.iter().enumerate() {
        let more = spec.size();
        if place > start && size + more > ENTRY {
            parts.push(&specs[start..place]);
            (start, size) = (place, 0);
        }
        size += more;
    }
    parts.push(&specs[start..]);
    parts
}

impl Debug for AmqpRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpRegistry").finish_non_exhaustive()
    }
}
