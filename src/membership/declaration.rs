//! Services that are kept declared, like instances are kept joined.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use registry_api::kernel::Backoff;
use registry_api::{Error, Registration, Result, ServiceRecord, Timestamp};
use tokio::sync::watch;

use super::driver::{Order, Orders};

/// Services that stay declared as long as this is kept, whatever the registry
/// loses meanwhile.
///
/// Dropping it ends that and withdraws nothing: a service outlives the process
/// that declared it. [`Registry::deregister`](registry_api::Registry::deregister)
/// withdraws.
#[must_use = "services are kept declared only as long as this is kept"]
pub struct Declaration {
    key: u64,
    orders: Orders,
    state: watch::Receiver<DeclarationState>,
}

/// How a declaration stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeclarationState {
    /// Not declared yet, or to be declared again. It never gives up; the last
    /// refusal is there for people.
    Declaring {
        /// What the registry answered to the last try, if it did.
        refusal: Option<String>,
    },
    /// The registry has these records.
    Declared(Vec<Arc<ServiceRecord>>),
}

impl Declaration {
    pub(super) fn new(key: u64, orders: Orders, state: watch::Receiver<DeclarationState>) -> Self {
        Self { key, orders, state }
    }

    /// How it stands now.
    pub fn state(&self) -> DeclarationState {
        self.state.borrow().clone()
    }

    /// The state as a value to watch.
    pub fn watch(&self) -> watch::Receiver<DeclarationState> {
        self.state.clone()
    }

    /// Returns the records once the registry has them.
    pub async fn declared(&self) -> Vec<Arc<ServiceRecord>> {
        let mut state = self.state.clone();
        let declared = |state: &DeclarationState| matches!(state, DeclarationState::Declared(_));
        match state.wait_for(declared).await.as_deref() {
            Ok(DeclarationState::Declared(records)) => records.clone(),
            _ => Vec::new(), // The driver is gone with its runtime.
        }
    }
}

impl Drop for Declaration {
    fn drop(&mut self) {
        self.orders.send(Order::Forget(self.key));
    }
}

impl Debug for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Declaration").field(&self.state()).finish()
    }
}

/// A declaration as its driver keeps it.
pub(super) struct Declared {
    registration: Registration,
    state: watch::Sender<DeclarationState>,
    /// When it is to be said again.
    due: Option<Timestamp>,
    backoff: Backoff,
}

impl Declared {
    pub(super) fn new(
        registration: Registration,
        state: watch::Sender<DeclarationState>,
        now: Timestamp,
    ) -> Self {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(60));
        let backoff = Backoff::new(first, cap, fastrand::u64(..));
        Self { registration, state, due: Some(now), backoff }
    }

    pub(super) fn registration(&self) -> Registration {
        self.registration.clone()
    }

    /// When it is to be said, if it is.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// The registry may have lost it. Saying it again costs no event where it
    /// has not.
    pub(super) fn doubt(&mut self, now: Timestamp) {
        self.due.get_or_insert(now);
    }

    pub(super) fn answered(&mut self, answer: Result<Vec<Arc<ServiceRecord>>>, now: Timestamp) {
        let state = match answer {
            Ok(records) => {
                self.due = None;
                self.backoff.reset();
                DeclarationState::Declared(records)
            }
            Err(error) => {
                self.due = Some(now + self.pause(&error));
                DeclarationState::Declaring { refusal: Some(error.to_string()) }
            }
        };
        self.state.send_if_modified(|known| {
            let news = *known != state;
            *known = state;
            news
        });
    }

    fn pause(&mut self, error: &Error) -> Duration {
        self.backoff.next_delay().max(error.retry_delay().unwrap_or_default())
    }
}
