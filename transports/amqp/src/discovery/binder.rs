//! Binds instances of H2 that do not bind themselves: most of its services wait until
//! somebody does, and those that did are taken out again where both would give a request
//! to two of them.
//!
//! Facts: HailoOSS `binding-service` at 9b813e6.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use registry_api::{
    Error, ErrorKind, Filter, Query, Registry, Result, Scope, WatchFrom, WatchStream,
};
use tokio::time::{interval, sleep};

use super::desk::records;
use super::forwarder::Forwarder;
use super::news::News;
use super::record::Record;
use super::slas::Slas;
use crate::bus::{Broker, Bus, Role, patiently};
use crate::names::{Prefix, client_queue};
use crate::reach::{Reach, bind_topic, is_not_found, unbind_self};

/// Between two tries to connect.
const REST: Duration = Duration::from_millis(500);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(10);
/// After so many looks all is bound again, whatever happened to it.
const AGAIN: u32 = 36;

pub(super) struct Binder {
    registry: Arc<dyn Registry>,
    broker: Broker,
    prefix: Prefix,
    /// Between two looks at who is there and well; changes are seen at once.
    every: Duration,
    slas: Slas,
}

/// What is bound over one connection.
struct Bindings {
    broker: Broker,
    bus: Bus,
    reaches: HashMap<String, Reach>,
    /// The services of queues that are bound.
    bound: HashMap<String, String>,
    /// Of services that share a queue, which H2's own instances do not read.
    forwarders: HashMap<String, Forwarder>,
}

impl Binder {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        broker: Broker,
        prefix: Prefix,
        every: Duration,
    ) -> Result<Self> {
        let slas = Slas::new(Arc::clone(&registry))?;
        Ok(Self { registry, broker, prefix, every, slas })
    }

    /// Goes on for ever, over one connection after the other.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(error) = self.over_a_connection().await {
                tracing::debug!(?error, "bindings are made again");
            }
            sleep(REST).await;
        }
    }

    /// The error is the broker's: while the registry is away, all stays as it is bound.
    async fn over_a_connection(&mut self) -> Result<()> {
        let bus = Bus::open(&self.broker, &client_queue(), Role::Caller).await?;
        let mut bindings = Bindings::over(bus, self.broker.clone());
        let mut news = News::new(self.prefix.clone());
        let mut changes = None;
        let mut looks = interval(self.every);
        let mut looked = 0;
        loop {
            tokio::select! {
                () = changed(&mut changes) => {}
                _ = looks.tick() => {
                    looked += 1;
                    if changes.is_none() {
                        changes = self.registry.watch(&Scope::All, WatchFrom::Now).await.ok();
                    }
                }
                // Nobody writes here; it ends with the connection.
                delivery = bindings.bus.next() => if delivery.is_none() {
                    let why = "the connection to H2's broker was lost";
                    return Err(Error::new(ErrorKind::Unavailable, why));
                },
            }
            let there = match records(&*self.registry, Query::all(), Filter::routable()).await {
                Ok(there) => there,
                Err(error) => {
                    tracing::debug!(?error, "bindings stay as they are");
                    continue;
                }
            };
            if looked >= AGAIN {
                bindings.bound.clear();
                self.slas.tidy(&there).await;
                looked = 0;
            }
            bindings.settle(&there).await?;
            news.publish(&there, &bindings.bus).await?;
            self.slas.settle(&there).await;
        }
    }
}

/// Returns after a change, or with the watch that told of them; never without one.
async fn changed(changes: &mut Option<WatchStream>) {
    let Some(watch) = changes else { return std::future::pending().await };
    let mut change = watch.next().await;
    sleep(SETTLE).await;
    while let Some(Ok(_)) = change {
        match watch.next().now_or_never() {
            Some(another) => change = another,
            None => return,
        }
    }
    *changes = None;
}

impl Bindings {
    fn over(bus: Bus, broker: Broker) -> Self {
        let (reaches, bound, forwarders) = Default::default();
        Self { broker, bus, reaches, bound, forwarders }
    }

    /// Binds who is new, and takes out who is not there.
    async fn settle(&mut self, there: &[Record]) -> Result<()> {
        let queues: HashMap<_, _> = there.iter().map(|record| (record.queue(), record)).collect();
        let gone: Vec<_> =
            self.bound.keys().filter(|queue| !queues.contains_key(&***queue)).cloned().collect();
        for queue in gone {
            self.unbind(&queue).await;
        }
        for record in there {
            if !self.bound.contains_key(record.queue()) {
                self.bind(record).await?;
            }
        }
        for (service, forwarder) in &self.forwarders {
            let instances = there.iter().filter(|record| record.service() == service);
            forwarder.to(instances.map(|record| record.queue().to_owned()).collect());
        }
        let bound = &self.bound;
        self.forwarders.retain(|service, _| bound.values().any(|has| has == service));
        Ok(())
    }

    async fn bind(&mut self, record: &Record) -> Result<()> {
        let (service, queue) = (record.service(), record.queue());
        let reach = match self.reaches.get(service) {
            Some(reach) => reach.clone(),
            None => {
                let probing = Reach::probe(&self.broker, self.bus.connection(), service);
                patiently(probing).await?
            }
        };
        let connection = self.bus.connection();
        let binding = async {
            if reach != Reach::Hailo {
                unbind_self(connection, service, queue).await?;
            }
            let shared = reach.bind(connection, service, queue).await?;
            for topic in record.topics() {
                bind_topic(connection, topic, queue).await?;
            }
            Ok(shared)
        };
        // An instance without its queue says nothing to pings either, and goes.
        let binding = async {
            match binding.await {
                Err(error) if is_not_found(&error) => Ok(None),
                done => done.map(Some),
            }
        };
        let Some(shared) = patiently(binding).await? else {
            tracing::debug!(queue, "an instance without its queue");
            return Ok(());
        };
        if let Some(shared) = shared
            && !self.forwarders.contains_key(service)
        {
            let starting = Forwarder::start(connection, &shared, self.bus.outlet());
            self.forwarders.insert(service.to_owned(), patiently(starting).await?);
        }
        self.reaches.insert(service.to_owned(), reach);
        self.bound.insert(queue.to_owned(), service.to_owned());
        Ok(())
    }

    /// Its queue may be gone already, and its bindings with it.
    async fn unbind(&mut self, queue: &str) {
        let Some(service) = self.bound.remove(queue) else { return };
        if let Some(reach) = self.reaches.get(&service) {
            let unbinding = reach.unbind(self.bus.connection(), &service, queue);
            if let Err(error) = patiently(unbinding).await {
                tracing::debug!(?error, queue, "not bound any more");
            }
        }
    }
}
