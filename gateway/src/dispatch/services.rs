//! The services that are called, each followed until nobody has asked for it for
//! ten minutes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::future::Cache;
use portolan::call::Caller;
use portolan::{
    Channel, ChannelOptions, Client, Error, ErrorKind, Explanation, Revision, ServiceName,
    ServiceRecord, ServiceView, Verdict,
};
use tokio::time::timeout;

use super::DispatchError;
use super::interface::Interface;

/// The wires, by what they carry: an argument in Thrift is none in protobuf.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    pub(crate) thrift: Arc<dyn Caller>,
    pub(crate) protobuf: Arc<dyn Caller>,
}

pub(crate) struct Services {
    pub(super) client: Client,
    callers: Callers,
    options: ChannelOptions,
    followed: Cache<ServiceName, Arc<Followed>>,
    unknown: Cache<ServiceName, ()>,
}

/// A service that is called.
pub(crate) struct Followed {
    pub(crate) thrift: Channel,
    pub(crate) protobuf: Channel,
    /// What its declaration meant when it was last called.
    interface: ArcSwapOption<(Revision, Arc<Interface>)>,
}

const IDLE: Duration = Duration::from_secs(600);
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

impl Services {
    pub(super) fn new(client: Client, callers: Callers, options: ChannelOptions) -> Self {
        Self {
            client,
            callers,
            options,
            followed: Cache::builder().max_capacity(100_000).time_to_idle(IDLE).build(),
            unknown: Cache::builder().max_capacity(10_000).time_to_live(UNKNOWN_FOR).build(),
        }
    }

    /// The service, followed. Many callers of a new one wait for one read; what
    /// does not exist is not asked for again within a second.
    pub(super) async fn followed(
        &self,
        service: &ServiceName,
    ) -> Result<Arc<Followed>, DispatchError> {
        if let Some(followed) = self.followed.get(service).await {
            return Ok(followed);
        }
        if self.unknown.contains_key(service) {
            return Err(DispatchError::Unknown);
        }
        let open = async {
            let channel = |caller: &Arc<dyn Caller>| {
                self.client.channel(service, Arc::clone(caller), self.options.clone())
            };
            let thrift = channel(&self.callers.thrift);
            let protobuf = channel(&self.callers.protobuf);
            thrift.view().ready().await?;
            match thrift.view().current().is_unknown() {
                true => Err(Error::new(ErrorKind::NotFound, "there is no such service")),
                false => {
                    Ok(Arc::new(Followed { thrift, protobuf, interface: ArcSwapOption::empty() }))
                }
            }
        };
        match self.followed.try_get_with_by_ref(service, open).await {
            Ok(followed) => Ok(followed),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.unknown.insert(service.clone(), ()).await;
                Err(DispatchError::Unknown)
            }
            Err(error) => {
                let copy = Error::new(error.kind(), error.to_string());
                Err(DispatchError::Registry(copy))
            }
        }
    }

    /// Returns once what is picked from shows this revision of the service, so
    /// that who just joined is called by the next call; at most a second.
    pub(super) async fn caught_up(&self, service: &ServiceName, revision: Revision) {
        if let Some(followed) = self.followed.get(service).await {
            let shown = followed.view().reached(|known| known.revision >= Some(revision));
            let _ = timeout(Duration::from_secs(1), shown).await;
        }
    }

    /// Why instances of a service are picked or not, where it is called: by the
    /// wire that has an address of theirs.
    pub(super) async fn explain(&self, service: &ServiceName) -> Vec<Explanation> {
        let Some(followed) = self.followed.get(service).await else { return Vec::new() };
        let other = followed.protobuf.explain();
        let both = followed.thrift.explain().into_iter().zip(other);
        both.map(|(thrift, protobuf)| match thrift.verdict {
            Verdict::NoAddress => protobuf,
            _ => thrift,
        })
        .collect()
    }

    /// Forgets that these services did not exist.
    pub(super) async fn declared(&self, services: impl IntoIterator<Item = &ServiceName>) {
        for service in services {
            self.unknown.invalidate(service).await;
        }
    }
}

impl Followed {
    pub(super) fn view(&self) -> &ServiceView {
        self.thrift.view()
    }

    /// The declaration as a call needs it, worked out once per revision.
    pub(super) fn interface(
        &self,
        record: &ServiceRecord,
        read: impl FnOnce(&ServiceRecord) -> Result<Interface, String>,
    ) -> Result<Arc<Interface>, DispatchError> {
        let known = self.interface.load();
        if let Some(known) = known.as_ref().filter(|known| known.0 == record.revision) {
            return Ok(Arc::clone(&known.1));
        }
        let interface = Arc::new(read(record).map_err(DispatchError::Interface)?);
        self.interface.store(Some(Arc::new((record.revision, Arc::clone(&interface)))));
        Ok(interface)
    }
}
