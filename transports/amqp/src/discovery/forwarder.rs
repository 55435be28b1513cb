//! Gives requests from a queue that instances share to those that do not read it: H2's
//! own read only theirs. Where both kinds serve, the broker hands out in turn.

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::{Connection, Consumer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::bus::{Delivered, Outlet, To, consume};

/// The most requests on their way at a time.
const MOST: usize = 256;

/// Ends when it is dropped; what it has not read stays for others.
pub(super) struct Forwarder {
    instances: watch::Sender<Vec<String>>,
    _task: AbortOnDropHandle<()>,
}

impl Forwarder {
    /// Reads this queue.
    pub(super) async fn start(
        connection: &Connection,
        queue: &str,
        outlet: Outlet,
    ) -> lapin::Result<Self> {
        let consumer = consume(&connection.create_channel().await?, queue).await?;
        let (instances, known) = watch::channel(Vec::new());
        let task = tokio::spawn(forward(consumer, outlet, known));
        Ok(Self { instances, _task: AbortOnDropHandle::new(task) })
    }

    /// Who gets what it reads.
    pub(super) fn to(&self, mut instances: Vec<String>) {
        instances.sort();
        self.instances.send_if_modified(|known| {
            let differs = *known != instances;
            *known = instances;
            differs
        });
    }
}

async fn forward(mut consumer: Consumer, outlet: Outlet, instances: watch::Receiver<Vec<String>>) {
    let (mut turn, mut under_way) = (0_usize, JoinSet::new());
    while let Some(Ok(request)) = consumer.next().await {
        let mut instances = instances.borrow().clone();
        if let Some(first) = turn.checked_rem(instances.len()) {
            instances.rotate_left(first);
        }
        turn = turn.wrapping_add(1);
        if under_way.len() >= MOST {
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
        let outlet = outlet.clone();
        under_way.spawn(async move { give(&outlet, &instances, request).await });
    }
}

/// To the first that is there, as it came.
async fn give(outlet: &Outlet, instances: &[String], request: Delivery) {
    for instance in instances {
        match outlet.deliver(To::Queue(instance), request.properties.clone(), &request.data).await {
            Ok(Delivered::Queued) => return,
            Ok(Delivered::Returned) => {}
            // It may be there: another one would run it again.
            Err(error) => return tracing::debug!(?error, "a request may be lost"),
        }
    }
    tracing::debug!("a request for nobody; dropped");
}
