//! What a case works with: handles, time, and patience with a limit.

use std::sync::Arc;
use std::time::Duration;

use registry_api::{
    Clock, InstanceId, LeaseTerms, Namespace, Query, Registry, Result, Timestamp, View, WatchItem,
    WatchStream,
};

use crate::clock::settle;
use crate::failure::{Failure, check};
use crate::link::Link;
use crate::target::{Pace, World};

/// One case's world, with a first handle open.
pub struct Ctx {
    world: Box<dyn World>,
    registry: Arc<dyn Registry>,
}

/// How long a real backend may take for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what is ready may take to get here.
const MOMENT: Duration = Duration::from_millis(700);

impl Ctx {
    /// Opens the first handle, on the default namespace.
    pub async fn open(world: Box<dyn World>) -> Result<Self> {
        let registry = world.handle(&Namespace::default()).await?;
        Ok(Self { world, registry })
    }

    /// The first handle.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }

    /// The world behind it.
    pub fn world(&self) -> &dyn World {
        &*self.world
    }

    /// Another handle on the same namespace, as another process has it.
    pub async fn another(&self) -> Result<Arc<dyn Registry>> {
        self.world.handle(&Namespace::default()).await
    }

    /// A handle on another namespace.
    pub async fn elsewhere(&self) -> Result<Arc<dyn Registry>> {
        self.world.handle(&Namespace::parse("elsewhere")?).await
    }

    /// The terms to ask for.
    pub fn terms(&self) -> LeaseTerms {
        self.world.terms()
    }

    /// Terms that end in no case, for what is not about leases: a busy machine
    /// may take longer than the shortest ones.
    pub fn lasting(&self) -> LeaseTerms {
        let seconds = Duration::from_secs;
        LeaseTerms::new(seconds(600), seconds(1200)).expect("ordered")
    }

    /// The connection to be cut.
    pub fn link(&self) -> Result<&Link, Failure> {
        let link = self.world.link();
        link.ok_or_else(|| Failure::absent("the target has no connection that can be cut"))
    }

    /// The time now, on the clock that judges.
    pub fn now(&self) -> Timestamp {
        match self.world.pace() {
            Pace::Manual(clock) => clock.now(),
            Pace::Real(clock) => clock.now(),
        }
    }

    /// Lets time pass.
    pub async fn advance(&self, duration: Duration) {
        match self.world.pace() {
            Pace::Manual(clock) => clock.advance(duration).await,
            Pace::Real(clock) => clock.sleep_until(clock.now() + duration).await,
        }
    }

    /// The clock itself.
    pub fn clock(&self) -> Arc<dyn Clock> {
        match self.world.pace() {
            Pace::Manual(clock) => Arc::new(clock),
            Pace::Real(clock) => clock,
        }
    }

    /// Lets a moment pass, or less if `holds` sooner: for news that are on their way.
    pub async fn moment(&self, holds: impl Fn() -> bool) {
        let (step, steps) = match self.is_virtual() {
            true => (Duration::from_millis(50), 2),
            false => (Duration::from_millis(20), 50),
        };
        for _ in 0..steps {
            if holds() {
                return;
            }
            self.advance(step).await;
        }
    }

    /// Lets the others run, without letting time pass.
    pub async fn settle(&self) {
        self.advance(Duration::ZERO).await;
    }

    /// Whether time costs nothing. What takes longer than a minute is for such
    /// worlds only.
    pub fn is_virtual(&self) -> bool {
        matches!(self.world.pace(), Pace::Manual(_))
    }

    /// How late a transition may be seen: δ, and four times that where time is real.
    pub fn slack(&self) -> Duration {
        let slack = self.registry.info().limits.detection_slack;
        match self.world.pace() {
            Pace::Manual(_) => slack,
            Pace::Real(_) => slack * 4,
        }
    }

    /// Everything there is.
    pub async fn all(&self) -> Result<View> {
        self.registry.resolve(&Query::all()).await
    }

    /// Whether an instance is listed.
    pub async fn lists(&self, id: &InstanceId) -> Result<bool> {
        Ok(self.all().await?.instance(id).is_some())
    }

    /// The next item that says something, which must come without the clock
    /// being moved.
    pub async fn next(&self, watch: &mut WatchStream) -> Result<WatchItem, Failure> {
        loop {
            match self.item(watch).await? {
                Some(WatchItem::Progress(_)) => {}
                Some(item) => return Ok(item),
                None => return Err(Failure::new("the watch was silent where an item was due")),
            }
        }
    }

    /// The next item, `None` if there is none yet. The end of a stream is a failure.
    pub async fn item(&self, watch: &mut WatchStream) -> Result<Option<WatchItem>, Failure> {
        self.within(PATIENCE, watch).await
    }

    /// The next item, if it is there already or about to be.
    pub async fn ready(&self, watch: &mut WatchStream) -> Result<Option<WatchItem>, Failure> {
        self.within(MOMENT, watch).await
    }

    async fn within(
        &self,
        patience: Duration,
        watch: &mut WatchStream,
    ) -> Result<Option<WatchItem>, Failure> {
        let item = match self.world.pace() {
            Pace::Manual(_) => tokio::select! {
                biased;
                item = watch.next() => item,
                () = settle() => return Ok(None),
            },
            Pace::Real(clock) => tokio::select! {
                item = watch.next() => item,
                () = clock.sleep_until(clock.now() + patience) => return Ok(None),
            },
        };
        match item {
            Some(item) => Ok(Some(item?)),
            None => Err(Failure::new("the watch ended")),
        }
    }

    /// Fails if the watch says anything but that it is alive.
    pub async fn silent(&self, watch: &mut WatchStream) -> Result<(), Failure> {
        let patience = Duration::from_millis(300);
        loop {
            let item = match self.world.pace() {
                Pace::Manual(_) => self.item(watch).await?,
                Pace::Real(clock) => tokio::select! {
                    item = watch.next() => item.transpose()?,
                    () = clock.sleep_until(clock.now() + patience) => None,
                },
            };
            match item {
                None => return Ok(()),
                Some(WatchItem::Progress(_)) => {}
                Some(item) => check(false, format_args!("nothing was due, saw {item:?}"))?,
            }
        }
    }
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("registry", &self.registry).finish_non_exhaustive()
    }
}
