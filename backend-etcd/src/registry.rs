//! The trait on top of the parts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::kernel::Command;
use registry_api::{
    Beat, BeatOutcome, Capabilities, Capability, Clock, Guard, Info, InstanceRef, InstanceSpec,
    Lease, Limits, Owner, Query, Registration, Registry, Result, Scope, ServiceName, ServiceRecord,
    View, WatchFrom, WatchStream,
};

use crate::following::Following;
use crate::hints::Hints;
use crate::keeper::Keeper;
use crate::leases::Revoker;
use crate::link::Endpoints;
use crate::options::EtcdOptions;
use crate::presence::Presences;
use crate::store::Store;

/// A handle on one namespace below one prefix of an etcd.
///
/// Its tasks run on the runtime it was opened on, and end with it.
#[derive(Debug)]
pub struct EtcdRegistry {
    info: Info,
    store: Arc<Store>,
    presences: Presences,
    following: Arc<Following>,
}

/// etcd looks for leases that ended every half second, and then tells.
const DETECTION_SLACK: Duration = Duration::from_millis(750);
/// Leases have whole seconds.
const GRANULARITY: Duration = Duration::from_secs(1);

impl EtcdRegistry {
    /// Opens a handle. `clock` is that of this process; it judges nobody.
    ///
    /// Errors: `Unavailable` where no endpoint can be reached, `Unauthenticated` or
    /// `PermissionDenied` where etcd refuses us.
    pub async fn open(options: EtcdOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Registry>> {
        let endpoints = Arc::new(Endpoints::new(&options)?);
        let store = Arc::new(Store::open(&options, &endpoints, clock).await?);
        let capabilities = Capability::ALL.into_iter();
        let limits = Limits::new()
            .with_ttl(store.min_ttl, GRANULARITY)
            .with_detection_slack(DETECTION_SLACK)
            .with_watch_backlog(store.history);
        let presences = Presences {
            store: Arc::clone(&store),
            keeper: Keeper::start(&endpoints, Arc::clone(&store.clock)),
            revoker: Revoker::start(Arc::clone(&store)),
            hints: Hints::default(),
        };
        Ok(Guard::shared(Self {
            info: Info::new(
                "etcd",
                capabilities.fold(Capabilities::none(), Capabilities::with),
                limits,
            ),
            following: Arc::new(Following::new(Arc::clone(&store))),
            presences,
            store,
        }))
    }
}

#[async_trait]
impl Registry for EtcdRegistry {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        let owner = registration.owner.clone();
        let named: Vec<_> = registration.services.iter().map(|spec| spec.name.clone()).collect();
        let command = Command::Register(registration);
        self.store.declare(&owner, &named, &command).await?.records()
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        let command = Command::Deregister(owner.clone(), services.to_vec());
        self.store.declare(owner, services, &command).await?.done()
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        self.presences.connect(instances).await
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        self.presences.beat(beats).await
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.presences.disconnect(instances).await
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        self.following.resolve(query).await
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        self.following.watch(scope, from, self.info.limits.progress_interval).await
    }
}
