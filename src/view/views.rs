//! The services a client follows: each once, however many ask.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use registry_api::{Clock, Registry, Scope, ServiceName};

use super::census::Census;
use super::follow::Follower;
use super::probe::Probe;
use super::recent::Recent;
use super::watching::Watching;
use super::{Following, ServiceView, Shared};

/// All views of a client.
pub(crate) struct Views {
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    probe: Arc<dyn Probe>,
    census: Arc<Census>,
    followed: Mutex<Kept>,
    recent: Mutex<Recent>,
}

/// The views that somebody keeps, and a few nobody does any more.
#[derive(Default)]
struct Kept {
    services: HashMap<ServiceName, Known>,
    /// With so many of them, those that nobody keeps are forgotten.
    sweep_at: usize,
}

/// A view as long as somebody else keeps it.
struct Known(Weak<Shared>, Weak<Following>);

impl Views {
    pub(crate) fn new(
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
        probe: Arc<dyn Probe>,
    ) -> Self {
        let (census, followed, recent) = (Census::new(), Mutex::default(), Mutex::default());
        Self { registry, clock, probe, census, followed, recent }
    }

    /// The view of a service; it begins to be followed if it was not.
    pub(crate) fn follow(&self, service: &ServiceName) -> ServiceView {
        let mut followed = self.lock();
        if let Some(view) = followed.services.get(service).and_then(Known::view) {
            return view;
        }
        followed.sweep();
        let shared = Arc::new(Shared::new(service.clone(), Arc::clone(&self.clock)));
        let scope = Scope::service(service.clone());
        let follower = Follower {
            watching: Watching::new(Arc::clone(&self.registry), Arc::clone(&self.clock), scope),
            clock: Arc::clone(&self.clock),
            probe: Arc::clone(&self.probe),
            reporter: self.census.reporter(service.clone()),
            shared: Arc::clone(&shared),
        };
        let following = Arc::new(Following(tokio::spawn(follower.run())));
        let known = Known(Arc::downgrade(&shared), Arc::downgrade(&following));
        followed.services.insert(service.clone(), known);
        ServiceView { shared, _following: following }
    }

    /// Follows what `view` shows for a while, also if nobody keeps it.
    pub(crate) fn keep(&self, view: &ServiceView) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.keep(view, self.clock.now());
    }

    /// Those that are followed now.
    pub(crate) fn all(&self) -> Vec<ServiceView> {
        self.lock().services.values().filter_map(Known::view).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn sweep(&mut self) {
        if self.services.len() >= self.sweep_at {
            self.services.retain(|_, known| known.view().is_some());
            self.sweep_at = 2 * self.services.len() + 64;
        }
    }
}

impl Known {
    fn view(&self) -> Option<ServiceView> {
        Some(ServiceView { shared: self.0.upgrade()?, _following: self.1.upgrade()? })
    }
}

impl Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Views").field(&self.all().len()).finish()
    }
}
