//! The connections of a caller, by peer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use registry_api::call::{CallError, Peer, Reply};
use registry_api::{Address, Epoch, InstanceId};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::dial::Dial;
use super::mux::Mux;
use super::pool::Pool;
use super::{Manner, Question, overloaded};

/// All peers that were called lately.
#[derive(Debug)]
pub(crate) struct Peers {
    dial: Arc<dyn Dial>,
    max_inflight: usize,
    known: Arc<Known>,
    /// Closes what is idle. Started with the first peer, ended with this.
    looking: OnceLock<JoinHandle<()>>,
}

type Known = RwLock<HashMap<Address, Arc<Links>>>;

/// The connections of one life of one instance.
#[derive(Debug)]
struct Links {
    address: Address,
    life: Option<(InstanceId, Epoch)>,
    manner: Manner,
    inflight: AtomicUsize,
    pool: Pool,
    mux: Mux,
}

/// How often idle connections are looked at.
const LOOK: Duration = Duration::from_secs(15);
/// After so many looks a connection is closed: well before the 60 s after
/// which our own host would do it.
const AGES: u32 = 2;

impl Peers {
    pub(crate) fn new(dial: Arc<dyn Dial>, max_inflight: usize) -> Self {
        Self { dial, max_inflight, known: Arc::default(), looking: OnceLock::new() }
    }

    pub(crate) async fn call(
        &self,
        peer: Peer<'_>,
        question: &Question<'_>,
    ) -> Result<Reply, CallError> {
        let links = self.links(peer, question.manner);
        let _slot = Slot::take(&links, self.max_inflight).ok_or_else(overloaded)?;
        let dial = &*self.dial;
        match question.manner.multiplex {
            true => links.mux.call(dial, &links.address, question).await,
            false => links.pool.call(dial, &links.address, question).await,
        }
    }

    /// The connections of this life. Those of another at the same address, or
    /// of one that now wants to be spoken to differently, are let go.
    fn links(&self, peer: Peer<'_>, manner: Manner) -> Arc<Links> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(links) = known.get(peer.address)
                && links.fits(peer, manner)
            {
                return Arc::clone(links);
            }
        }
        self.looking.get_or_init(|| tokio::spawn(look(Arc::downgrade(&self.known))));
        let links = Arc::new(Links {
            address: peer.address.clone(),
            life: peer.life.map(|(id, epoch)| (id.clone(), epoch)),
            manner,
            inflight: AtomicUsize::new(0),
            pool: Pool::default(),
            mux: Mux::default(),
        });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match known.get(peer.address) {
            Some(other) if other.fits(peer, manner) => Arc::clone(other),
            _ => {
                known.insert(peer.address.clone(), Arc::clone(&links));
                links
            }
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Some(looking) = self.looking.get() {
            looking.abort();
        }
    }
}

impl Links {
    fn fits(&self, peer: Peer<'_>, manner: Manner) -> bool {
        let life = self.life.as_ref().map(|(id, epoch)| (id, *epoch));
        life == peer.life && self.manner == manner
    }

    /// Whether anything is open or under way.
    fn look(&self) -> bool {
        let pooled = self.pool.look(AGES);
        pooled || self.mux.look() || self.inflight.load(Ordering::Relaxed) > 0
    }
}

async fn look(known: Weak<Known>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(known) = known.upgrade() else { return };
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, links| links.look());
    }
}

/// One call of those a peer may have at a time.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(links: &'a Links, max: usize) -> Option<Self> {
        let slot = Self(&links.inflight);
        // Its drop takes back a slot that is one too many.
        (links.inflight.fetch_add(1, Ordering::Relaxed) < max).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
