//! Services that were asked for lately: they stay followed for a while, so that
//! asking again costs the registry nothing.

use std::collections::HashMap;
use std::time::Duration;

use registry_api::{ServiceName, Timestamp};

use super::ServiceView;

/// How long after it was last asked for.
const WHILE: Duration = Duration::from_secs(60);
/// How many at most; whoever asks for more keeps a view himself.
const MOST: usize = 1_024;

/// The views nobody keeps, and when each was last asked for.
#[derive(Default)]
pub(super) struct Recent {
    views: HashMap<ServiceName, (ServiceView, Timestamp)>,
    pruned: Timestamp,
}

impl Recent {
    /// Keeps a view for another while.
    pub(super) fn keep(&mut self, view: &ServiceView, now: Timestamp) {
        if now.since(self.pruned) > WHILE / 4 {
            self.views.retain(|_, (_, asked)| now.since(*asked) < WHILE);
            self.pruned = now;
        }
        if let Some((_, asked)) = self.views.get_mut(view.service()) {
            *asked = now;
        } else if self.views.len() < MOST {
            self.views.insert(view.service().clone(), (view.clone(), now));
        }
    }
}
