//! Calling a service rather than an address: pick, call, and what protects both
//! sides when that goes wrong.
//!
//! Each policy is a value in a file of its own; [`ChannelOptions`] puts them
//! together, and `call` is the one place that knows their order.

mod balance;
mod breaker;
mod budget;
mod call;
mod counters;
mod ejection;
mod explain;
mod h2;
mod hash;
mod hedge;
mod node;
mod options;
mod p2c;
mod queue;
mod retry;
mod roster;
mod slot;
mod sync;
mod timeouts;
mod wires;
mod zone;

use std::fmt::{self, Debug};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use registry_api::call::{Call, CallError, Caller, Reply};
use registry_api::{Clock, Instance, ServiceName, Timestamp};

pub use self::balance::Balance;
pub use self::breaker::Breaker;
use self::breaker::Breakers;
use self::budget::Budget;
pub use self::counters::{Count, Counters};
use self::ejection::Ejected;
pub use self::ejection::Ejection;
pub use self::explain::{Explanation, Verdict};
pub use self::hash::BoundedHash;
pub use self::hedge::Hedge;
use self::node::{Node, TICK, Tick};
pub use self::options::ChannelOptions;
use self::queue::Gate;
pub use self::queue::Queue;
pub use self::retry::Retry;
use self::roster::{Choice, Place, Roster};
pub use self::timeouts::Timeouts;
pub use self::wires::Wires;
pub use self::zone::ZoneFirst;
use crate::view::{Followed, Listener, ServiceView};

/// A way to call one service. Cloning shares it, with its budgets and what it
/// knows of the instances.
#[derive(Clone)]
pub struct Channel {
    core: Arc<Core>,
    view: ServiceView,
}

/// What all clones share.
struct Core {
    service: ServiceName,
    caller: Arc<dyn Caller>,
    clock: Arc<dyn Clock>,
    options: ChannelOptions,
    roster: ArcSwap<Roster>,
    /// The last reading of the clock.
    tick: AtomicU32,
    /// Picks that have not ended; only where keys are hashed.
    in_flight: AtomicU32,
    ejected: Ejected,
    breakers: Option<Breakers>,
    retries: Budget,
    hedges: Budget,
    gate: Gate,
}

/// What a pick may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    key: Option<u64>,
    tried: &'a [Arc<Node>],
}

impl Ask<'_> {
    /// The key that is hashed, where the balance hashes.
    #[must_use]
    pub fn with_key(mut self, key: &[u8]) -> Self {
        self.key = Some(hash::hash(key));
        self
    }
}

impl Channel {
    pub(crate) fn new(
        view: ServiceView,
        caller: Arc<dyn Caller>,
        clock: Arc<dyn Clock>,
        options: ChannelOptions,
    ) -> Self {
        let core = Arc::new(Core {
            service: view.service().clone(),
            caller,
            roster: ArcSwap::from_pointee(Roster::empty()),
            tick: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            ejected: Ejected::default(),
            breakers: options.breaker.map(Breakers::new),
            retries: Budget::new(options.retry.percent, options.retry.floor),
            hedges: Budget::new(options.hedge.map_or(0, |hedge| hedge.percent), 0),
            gate: Gate::new(options.queue),
            clock,
            options,
        });
        core.tick(core.clock.now());
        view.tell(&core);
        Self { core, view }
    }

    /// Calls the service.
    ///
    /// A call without a timeout has the time that the endpoint's SLA suggests.
    /// It is repeated only where that is safe; see [`Retry`]. The error is that
    /// of the last attempt.
    pub async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.core.call(&self.view, call).await
    }

    /// Picks an instance and counts it as busy until what is returned is
    /// dropped. No lock, no allocation, no reading of the clock.
    #[inline]
    pub fn pick(&self, ask: Ask<'_>) -> Option<Busy<'_>> {
        let roster = self.core.roster.load();
        let place = self.core.choose(&roster, ask)?;
        self.core.enter(&roster.at(place).node);
        Some(Busy { core: &self.core, roster, place })
    }

    /// What this channel thinks of every instance, by id.
    pub fn explain(&self) -> Vec<Explanation> {
        self.core.explain()
    }

    /// The service as it is known.
    pub fn view(&self) -> &ServiceView {
        &self.view
    }

    /// What this channel, and those that share its counters, did.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.core.options.counters
    }
}

impl Core {
    #[inline]
    fn choose(&self, roster: &Roster, ask: Ask<'_>) -> Option<Place> {
        roster.choose(&Choice {
            options: &self.options,
            key: ask.key,
            tried: ask.tried,
            now: self.tick.load(Ordering::Relaxed),
            panic: self.ejected.is_panic(roster.len()),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        })
    }

    /// An instance is busy with one more. All picks are counted only where
    /// somebody looks at it: that count is one line that all threads write.
    #[inline]
    fn enter(&self, node: &Node) {
        node.enter();
        if let Balance::Hash(_) = self.options.balance {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    fn leave(&self, node: &Node) {
        node.leave();
        if let Balance::Hash(_) = self.options.balance {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The tick of a moment, noted for picks.
    fn tick(&self, now: Timestamp) -> Tick {
        let tick = (u128::from(now.as_nanos()) / TICK.as_nanos()) as Tick;
        if self.tick.load(Ordering::Relaxed) < tick {
            self.tick.store(tick, Ordering::Relaxed);
        }
        tick
    }
}

impl Listener for Core {
    fn published(&self, followed: &Arc<Followed>) {
        let before = self.roster.load_full();
        let roster = Roster::new(followed, &self.service, &self.options, &*self.caller, &before);
        let now = self.tick(self.clock.now());
        self.ejected.prune(now, |node| roster.slots().any(|slot| Arc::ptr_eq(&slot.node, node)));
        self.roster.store(Arc::new(roster));
    }
}

/// A picked instance, which counts as busy until this is dropped.
pub struct Busy<'a> {
    core: &'a Core,
    roster: Guard<Arc<Roster>>,
    place: Place,
}

impl Deref for Busy<'_> {
    type Target = Instance;

    #[inline]
    fn deref(&self) -> &Instance {
        &self.roster.at(self.place).instance
    }
}

impl Drop for Busy<'_> {
    #[inline]
    fn drop(&mut self) {
        self.core.leave(&self.roster.at(self.place).node);
    }
}

impl Debug for Busy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

impl Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("service", &self.core.service)
            .field("options", &self.core.options)
            .finish_non_exhaustive()
    }
}
