//! Pings, and what their answers are to the registry: beats. An instance of H2 does not
//! know of leases; it answers whoever asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery;
use registry_api::{Beat, Filter, Query, Registry};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::desk::presences;
use super::record::Record;
use crate::bus::{Broker, Bus, Outlet, Role};
use crate::message::{ping, pong_from};
use crate::names::discovery_queue;

/// A round is sent in so many parts, so that thousands of answers do not come at once.
const PARTS: usize = 10;
/// Between two tries to connect.
const REST: Duration = Duration::from_millis(500);

pub(super) struct Pulse {
    registry: Arc<dyn Registry>,
    broker: Broker,
    every: Duration,
}

/// One round: whom it is about, and who has answered.
#[derive(Default)]
struct Round {
    lives: HashMap<String, Beat>,
    /// Who is still to be pinged, in parts.
    due: Vec<Vec<String>>,
    heard: Vec<Beat>,
}

impl Pulse {
    pub(super) fn new(registry: Arc<dyn Registry>, broker: Broker, every: Duration) -> Self {
        Self { registry, broker, every }
    }

    /// Goes on for ever, over one connection after the other.
    pub(super) async fn run(self) {
        let mut is_told = false;
        loop {
            let queue = discovery_queue();
            match Bus::open(&self.broker, &queue, Role::Caller).await {
                Ok(bus) => {
                    is_told = false;
                    self.over(bus, &queue).await;
                    tracing::warn!("the connection to H2's broker was lost");
                }
                Err(error) => {
                    // Once per outage.
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "H2's services cannot be pinged");
                    }
                    sleep(REST).await;
                }
            }
        }
    }

    async fn over(&self, mut bus: Bus, queue: &str) {
        let outlet = bus.outlet();
        let mut parts = interval(self.every / PARTS as u32);
        parts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Round::default();
        loop {
            tokio::select! {
                delivery = bus.next() => match delivery {
                    Some(delivery) => round.hear(&delivery),
                    None => return,
                },
                _ = parts.tick() => self.part(&mut round, &outlet, queue).await,
            }
        }
    }

    /// Tells the registry who has answered, and pings the next part.
    async fn part(&self, round: &mut Round, outlet: &Outlet, queue: &str) {
        let heard = std::mem::take(&mut round.heard);
        if !heard.is_empty()
            && let Err(error) = self.registry.heartbeat(&heard).await
        {
            tracing::debug!(?error, "answers to pings could not be told");
        }
        if round.due.is_empty() {
            self.begin(round).await;
        }
        for instance in round.due.pop().unwrap_or_default() {
            outlet.send(&instance, ping(queue), b"PING").await;
        }
    }

    /// Everybody once more. While the registry cannot be read, those that are known.
    async fn begin(&self, round: &mut Round) {
        match presences(&*self.registry, Query::all(), Filter::default()).await {
            Ok(all) => {
                let ours = all.iter().filter(|presence| Record::read(presence).is_some());
                let life = |presence: &Arc<registry_api::Presence>| {
                    (presence.id.to_string(), presence.lease().beat())
                };
                round.lives = ours.map(life).collect();
            }
            Err(error) => tracing::debug!(?error, "pings go to who was there before"),
        }
        round.due = vec![Vec::new(); PARTS];
        for (number, instance) in round.lives.keys().enumerate() {
            round.due[number % PARTS].push(instance.clone());
        }
    }
}

impl Round {
    /// An answer counts for whom this round is about, and nobody else.
    fn hear(&mut self, delivery: &Delivery) {
        let from = pong_from(&delivery.properties);
        match from.and_then(|instance| self.lives.get(&instance)) {
            Some(beat) => self.heard.push(beat.clone()),
            None => tracing::debug!("an answer to no ping; dropped"),
        }
    }
}
