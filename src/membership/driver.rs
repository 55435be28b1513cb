//! The way to the one task of a client that connects and beats for its members.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use registry_api::{Clock, InstanceSpec, Registration, Registry, Result};
use tokio::sync::{mpsc, oneshot, watch};

use super::pulse::Pulse;
use super::work::Work;
use super::{Declaration, DeclarationState, Membership, MembershipState, thread};
use crate::opener::Opener;

/// The task ends when the last way to it is gone and everybody has left, at
/// most four seconds later.
#[derive(Clone)]
pub(crate) struct Driver {
    orders: Orders,
    clock: Arc<dyn Clock>,
    next_key: Arc<AtomicU64>,
}

#[derive(Clone)]
pub(super) struct Orders(mpsc::UnboundedSender<Order>);

/// What members ask for. Bounded by what the application does: one per call.
pub(super) enum Order {
    Declare(u64, Box<Registration>, watch::Sender<DeclarationState>),
    Forget(u64),
    Join(u64, Box<InstanceSpec>, watch::Sender<MembershipState>),
    Leave(u64, Option<oneshot::Sender<Result<()>>>),
    Update(u64, Box<dyn FnOnce(&mut InstanceSpec) + Send>),
}

impl Orders {
    /// The task outlives every sender, unless its runtime is gone; then there
    /// is nobody left to act for.
    pub(super) fn send(&self, order: Order) {
        let _ = self.0.send(order);
    }
}

impl Driver {
    /// A driver on the caller's runtime.
    pub(crate) fn start(registry: Arc<dyn Registry>, clock: Arc<dyn Clock>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(Work::new(registry, Arc::clone(&clock), None).run(inbox));
        Self { orders: Orders(orders), clock, next_key: Arc::default() }
    }

    /// A driver on a thread and a runtime of its own, with a handle of its own,
    /// so that a busy process is not taken for a dead one. It beats only as long
    /// as `pulse` says that the process is not stuck for good.
    pub(crate) fn start_apart(
        opener: Opener,
        clock: Arc<dyn Clock>,
        pulse: Arc<Pulse>,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::unbounded_channel();
        thread::start(opener, Arc::clone(&clock), pulse, inbox)?;
        Ok(Self { orders: Orders(orders), clock, next_key: Arc::default() })
    }

    pub(crate) fn declare(&self, registration: Registration) -> Declaration {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let (state, told) = watch::channel(DeclarationState::Declaring { refusal: None });
        self.orders.send(Order::Declare(key, Box::new(registration), state));
        Declaration::new(key, self.orders.clone(), told)
    }

    pub(crate) fn join(&self, spec: InstanceSpec) -> Membership {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let connecting = MembershipState::Connecting { refusal: None };
        let (state, told) = watch::channel(connecting);
        let id = spec.id.clone();
        self.orders.send(Order::Join(key, Box::new(spec), state));
        let (orders, clock) = (self.orders.clone(), Arc::clone(&self.clock));
        Membership { id, key, orders, clock, state: told }
    }
}

impl Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}
