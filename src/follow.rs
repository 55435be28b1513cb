//! One service as callers see it: followed by a watch, picked from without a lock.

use std::fmt::{self, Debug};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use registry_api::kernel::Replica;
use registry_api::{
    Clock, Health, Instance, Phase, Registry, Revision, Scope, ServiceName, ServiceRecord, Weight,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::watching::Watching;

/// A live view of one service. Cloning shares it; it is followed until the last
/// clone is dropped.
///
/// While the registry is away it keeps showing the last that was known.
#[derive(Clone)]
pub struct ServiceView {
    shared: Arc<Shared>,
    _follower: Arc<Follower>,
}

struct Shared {
    current: ArcSwap<Followed>,
    news: watch::Sender<u64>,
}

struct Follower(JoinHandle<()>);

/// What is known of a service at one revision.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Followed {
    /// The revision; `None` before the first answer of the registry.
    pub revision: Option<Revision>,
    /// The declaration, if there is one.
    pub service: Option<Arc<ServiceRecord>>,
    /// Everybody who is listed, by id.
    pub instances: Vec<Instance>,
    /// Who is picked from.
    routable: Vec<Chance>,
}

/// A row of an alias table (Vose): a weighted pick is one look at one row.
#[derive(Clone, Debug)]
struct Chance {
    instance: Instance,
    /// The share of this row's instance, out of 2³².
    own: u64,
    /// The row that has the rest.
    other: u32,
}

/// Rebuilding costs a pass over the service; churn must not make it a busy loop.
const REBUILD_INTERVAL: Duration = Duration::from_millis(5);

impl ServiceView {
    pub(crate) fn follow(
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
        service: &ServiceName,
    ) -> Self {
        let shared = Arc::new(Shared { current: ArcSwap::default(), news: watch::Sender::new(0) });
        let scope = Scope::service(service.clone());
        let watching = Watching::new(registry, Arc::clone(&clock), scope);
        let task = follow(watching, clock, Arc::clone(&shared));
        Self { shared, _follower: Arc::new(Follower(tokio::spawn(task))) }
    }

    /// One instance, by weight, of those that are online and ready; of those
    /// that are draining where nobody else is left. No lock, no allocation.
    #[inline]
    pub fn pick(&self) -> Option<Picked> {
        let followed = self.shared.current.load();
        let place = choose(&followed.routable, fastrand::u64(..))?;
        Some(Picked { followed, place })
    }

    /// Everything that is known now.
    pub fn current(&self) -> Arc<Followed> {
        self.shared.current.load_full()
    }

    /// Returns once the registry has answered for the first time.
    pub async fn ready(&self) {
        self.reached(|followed| followed.revision.is_some()).await;
    }

    /// Returns once what is known satisfies `condition`.
    pub async fn reached(&self, condition: impl Fn(&Followed) -> bool) {
        let mut news = self.shared.news.subscribe();
        while !condition(&self.shared.current.load()) {
            if news.changed().await.is_err() {
                std::future::pending().await // The sender is ours: never reached.
            }
        }
    }
}

/// A picked instance, borrowed from the snapshot it was picked from.
pub struct Picked {
    followed: Guard<Arc<Followed>>,
    place: usize,
}

impl Deref for Picked {
    type Target = Instance;

    #[inline]
    fn deref(&self) -> &Instance {
        &self.followed.routable[self.place].instance
    }
}

async fn follow(mut watching: Watching, clock: Arc<dyn Clock>, shared: Arc<Shared>) {
    let mut replica = Replica::new();
    let mut rested = clock.now();
    loop {
        replica.apply(watching.next().await);
        clock.sleep_until(rested).await;
        // What came meanwhile goes into the same snapshot.
        while let Some(item) = now_or_never(watching.next()).await {
            replica.apply(item);
        }
        shared.publish(&replica);
        rested = clock.now() + REBUILD_INTERVAL;
    }
}

/// The value of a future that is ready now.
async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}

impl Shared {
    fn publish(&self, replica: &Replica) {
        let instances: Vec<_> = replica.instances().values().cloned().collect();
        let followed = Followed {
            revision: replica.revision(),
            service: replica.services().values().next().cloned(),
            routable: alias_table(routable(&instances)),
            instances,
        };
        self.current.store(Arc::new(followed));
        self.news.send_modify(|count| *count += 1);
    }
}

/// Who may be picked: ready before draining, and only who is online.
fn routable(instances: &[Instance]) -> Vec<Instance> {
    let of = |phase: Phase| {
        let fits = move |i: &&Instance| i.health == Health::Online && i.phase == phase;
        instances.iter().filter(fits).cloned().collect::<Vec<_>>()
    };
    let ready = of(Phase::Ready);
    if ready.is_empty() { of(Phase::Draining) } else { ready }
}

/// Weights of the offers; all equal where all are zero.
fn weights(instances: &[Instance]) -> Vec<u64> {
    let weight = |i: &Instance| i.offers.first().map_or(Weight::default(), |o| o.weight);
    let weights: Vec<_> = instances.iter().map(|i| u64::from(weight(i).0)).collect();
    if weights.iter().all(|w| *w == 0) {
        return vec![1; weights.len()];
    }
    weights
}

const WHOLE: u64 = 1 << 32;

fn alias_table(instances: Vec<Instance>) -> Vec<Chance> {
    let weights = weights(&instances);
    let total: u64 = weights.iter().sum();
    let count = weights.len() as u64;
    // Shares scaled so that the average row is exactly full.
    let scale =
        |w: &u64| (u128::from(*w) * u128::from(count * WHOLE) / u128::from(total.max(1))) as u64;
    let mut shares: Vec<_> = weights.iter().map(scale).collect();
    let (mut small, mut large): (Vec<_>, Vec<_>) =
        (0..shares.len()).partition(|row| shares[*row] < WHOLE);
    let mut table: Vec<_> = instances
        .into_iter()
        .enumerate()
        .map(|(row, instance)| Chance { instance, own: WHOLE, other: row as u32 })
        .collect();
    while let (Some(row), Some(donor)) = (small.pop(), large.last().copied()) {
        table[row].own = shares[row];
        table[row].other = donor as u32;
        shares[donor] -= WHOLE - shares[row];
        if shares[donor] < WHOLE {
            large.pop();
            small.push(donor);
        }
    }
    table
}

#[inline]
fn choose(table: &[Chance], random: u64) -> Option<usize> {
    let row = (((random >> 32) * table.len() as u64) >> 32) as usize;
    let chance = table.get(row)?;
    let own = (random & (WHOLE - 1)) < chance.own;
    Some(if own { row } else { chance.other as usize })
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Debug for ServiceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceView").field(&self.current()).finish()
    }
}

impl Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use registry_api::{
        Address, Epoch, Era, InstanceId, InstanceSpec, Offer, Presence, Revision, ServiceName,
    };

    use super::*;

    fn instance(name: &str, weight: u32) -> Instance {
        let address = Address::parse("tcp://h:1").unwrap();
        let offer = Offer::new(ServiceName::parse("s").unwrap(), address).with_weight(weight);
        let spec = InstanceSpec::new(InstanceId::parse(name).unwrap(), [offer]);
        let revision = Revision { era: Era(1), number: 1 };
        Instance {
            presence: Arc::new(Presence::new(&spec, Epoch(1), revision)),
            health: Health::Online,
        }
    }

    #[test]
    fn picks_follow_the_weights() {
        let weights = [1, 2, 3, 0, 94];
        let instances = weights.iter().map(|w| instance(&format!("i{w}"), *w));
        let table = alias_table(instances.collect());
        let mut picked = [0_u32; 5];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            picked[choose(&table, random.u64(..)).unwrap()] += 1;
        }
        for (count, weight) in picked.into_iter().zip(weights) {
            let expected = weight * 1000;
            assert!(count.abs_diff(expected) <= expected / 8, "{picked:?}");
        }
    }

    #[test]
    fn draining_is_picked_only_when_nothing_else_is_left() {
        let ready = instance("ready", 1);
        let mut draining = instance("draining", 1);
        Arc::get_mut(&mut draining.presence).unwrap().phase = Phase::Draining;
        let both = routable(&[draining.clone(), ready.clone()]);
        assert_eq!(both, vec![ready]);
        assert_eq!(routable(std::slice::from_ref(&draining)), vec![draining]);
        assert_eq!(choose(&[], 7), None);
    }
}
