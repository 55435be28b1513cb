//! The tree follows the registry: whoever could be called by an hprose client is
//! listed, whoever cannot any more is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portolan::hprose::Server;
use portolan::kernel::Replica;
use portolan::{Instance, InstanceId, Registry, Revision, Scope, WatchFrom};
use tokio::task::JoinHandle;

use super::event::value_of;
use super::face::{Face, Listed};

/// Ends its task when it is dropped.
#[derive(Debug)]
pub(crate) struct Following(JoinHandle<()>);

/// How long to wait before a refused watch is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Following {
    pub(crate) fn start(face: Arc<Face>, registry: Arc<dyn Registry>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                follow(&face, &*registry).await;
                tokio::time::sleep(AGAIN).await;
            }
        }))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows one watch to its end.
async fn follow(face: &Face, registry: &dyn Registry) {
    let Ok(mut watch) = registry.watch(&Scope::All, WatchFrom::Now).await else { return };
    let mut replica = Replica::new();
    while let Some(Ok(item)) = watch.next().await {
        if replica.apply(item) {
            show(face, replica.instances(), replica.revision());
        }
    }
}

/// Makes the tree show what there is.
fn show(face: &Face, instances: &BTreeMap<InstanceId, Instance>, revision: Option<Revision>) {
    let mut there = Listed::new();
    for instance in instances.values().filter(|instance| instance.is_routable()) {
        for offer in instance.offers.iter() {
            if let Some(server) = Server::of(&instance.id, offer) {
                let at = (offer.service.clone(), instance.id.clone());
                there.insert(at, value_of(&server));
            }
        }
    }
    face.keep(&there, revision);
    for ((service, id), value) in there {
        face.list(&service, &id, value);
    }
}
