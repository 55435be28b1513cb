//! `tonic`: a channel that is balanced over the instances of a service.

use registry_api::{Address, Instance, ServiceName, Target, Transport};
use tokio::task::JoinHandle;
use tonic::transport::channel::Change as Fed;
use tonic::transport::{Channel, Endpoint};

use super::{Change, Changes};
use crate::view::ServiceView;

/// A tonic channel, and the task that tells it who is there. The channel knows
/// of no changes any more once this is dropped.
#[derive(Debug)]
pub struct Balanced {
    channel: Channel,
    feeding: JoinHandle<()>,
}

/// How many changes may wait until the channel takes them.
const BUFFER: usize = 64;

impl Balanced {
    /// A channel over those instances of a view that have a gRPC address. They
    /// are connected to when they are called, and again after they failed.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(view: &ServiceView) -> Self {
        let service = view.service().clone();
        Self::with(view, move |instance| endpoint(instance, &service))
    }

    /// A channel over the endpoints that `endpoint` makes of instances: with TLS,
    /// timeouts, or another way to find the address.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn with(
        view: &ServiceView,
        endpoint: impl Fn(&Instance) -> Option<Endpoint> + Send + 'static,
    ) -> Self {
        let (channel, told) = Channel::balance_channel(BUFFER);
        let mut changes = Changes::new(view);
        let feeding = tokio::spawn(async move {
            loop {
                let change = match changes.next().await {
                    Change::Come(key, instance) => match endpoint(&instance) {
                        Some(endpoint) => Fed::Insert(key, endpoint),
                        None => continue,
                    },
                    Change::Gone(key) => Fed::Remove(key),
                };
                if told.send(change).await.is_err() {
                    return; // No channel is left.
                }
            }
        });
        Self { channel, feeding }
    }

    /// The channel, for the clients that tonic generates. Cloning is cheap.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Balanced {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}

/// Where an instance serves gRPC, without TLS.
fn endpoint(instance: &Instance, service: &ServiceName) -> Option<Endpoint> {
    let addresses = &instance.offer(service)?.addresses;
    let address = addresses.iter().find(|address| address.transport() == Transport::Grpc)?;
    Endpoint::from_shared(uri(address)?).ok()
}

fn uri(address: &Address) -> Option<String> {
    match address.target() {
        Target::Host { host, port } if host.contains(':') => {
            Some(format!("http://[{host}]:{port}"))
        }
        Target::Host { host, port } => Some(format!("http://{host}:{port}")),
        Target::Queue(_) | Target::Connection { .. } => None,
    }
}
