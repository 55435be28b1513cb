//! The trait on top of a [`Space`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::kernel::{Command, Outcome};
use registry_api::{
    Beat, BeatOutcome, Capabilities, Capability, Info, InstanceRef, InstanceSpec, Lease, Limits,
    Owner, Published, Query, Registration, Registry, Result, Scope, ServiceName, ServiceRecord,
    View, WatchFrom, WatchStream,
};

use crate::space::Space;
use crate::sweeper::MIN_INTERVAL;

/// A handle on one namespace of a [`MemoryStore`](crate::MemoryStore).
#[derive(Debug)]
pub struct MemoryRegistry {
    space: Arc<Space>,
    info: Info,
}

/// A sweep may wait for its turn, and its timer wakes a little late.
const DETECTION_SLACK: Duration = Duration::from_millis(30).saturating_add(MIN_INTERVAL);

impl MemoryRegistry {
    pub(crate) fn new(space: Arc<Space>, history: usize) -> Self {
        let capabilities = Capabilities::none().with(Capability::Push).with(Capability::Resume);
        let limits = Limits::new().with_detection_slack(DETECTION_SLACK);
        let limits = limits.with_watch_backlog(history);
        let info = Info::new("memory", capabilities, limits);
        Self { space, info }
    }

    fn write(&self, command: Command) -> Outcome {
        self.space.write([], command, |_, _| None, || {})
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.write(Command::Register(registration)).records()
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        let command = Command::Deregister(owner.clone(), services.to_vec());
        self.write(command).done()
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        let leases = &self.space.leases;
        let outcome = self.space.write(
            instances.iter().map(|spec| &spec.id),
            Command::Connect(instances.to_vec()),
            |outcome, now| match outcome {
                Outcome::Connected(answers) => {
                    let granted = answers.iter().flatten();
                    granted.map(|p| leases.grant(&p.id, p.epoch, p.terms, now)).min()
                }
                Outcome::Done(_) | Outcome::Registered(_) | Outcome::Renewed(_) => None,
            },
            || {},
        );
        outcome.leases()
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        // One clock read for the whole batch: it costs a quarter of a beat.
        let now = self.space.clock.now();
        let beats = beats.iter().map(|beat| (&beat.id, beat.epoch));
        let outcomes = self.space.leases.beats(beats, now);
        if outcomes.contains(&BeatOutcome::Revived) {
            self.space.revived();
        }
        Ok(outcomes)
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        let leases = &self.space.leases;
        let outcome = self.space.write(
            instances.iter().map(|reference| &reference.id),
            Command::Disconnect(instances.to_vec()),
            |_, _| None,
            || instances.iter().for_each(|i| leases.release(&i.id, i.epoch)),
        );
        outcome.done()
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        let state = self.space.state();
        state.read(query, &self.space.leases, self.space.clock.now())
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        let space = Arc::clone(&self.space);
        Ok(space.follow(scope, from, self.info.limits.progress_interval))
    }
}
