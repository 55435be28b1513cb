//! Defects of leases and beats.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{
    Beat, BeatOutcome, InstanceId, InstanceRef, InstanceSpec, Lease, LeaseTerms, Phase, Query,
    Registry, Result, View,
};

use super::flawed::Defect;
use crate::clock::ManualClock;

/// The specs that were connected through this handle.
#[derive(Debug, Default)]
struct Known(Mutex<HashMap<InstanceId, InstanceSpec>>);

impl Known {
    fn note(&self, specs: &[InstanceSpec]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(specs.iter().map(|spec| (spec.id.clone(), spec.clone())));
    }

    fn get(&self, id: &InstanceId) -> Option<InstanceSpec> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// Grants other terms than it says it does.
#[derive(Debug)]
struct Lies(fn(LeaseTerms) -> (Duration, Duration));

#[async_trait]
impl Defect for Lies {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        let mut bent = Vec::new();
        for spec in instances {
            let (ttl, ttd) = (self.0)(spec.terms);
            bent.push(spec.clone().with_terms(LeaseTerms::new(ttl, ttd)?));
        }
        let answers = inner.connect(&bent).await?;
        let straight = |(answer, spec): (Result<Lease>, &InstanceSpec)| {
            answer.map(|lease| Lease { terms: spec.terms, ..lease })
        };
        Ok(answers.into_iter().zip(instances).map(straight).collect())
    }
}

pub(super) fn early() -> Arc<dyn Defect> {
    Arc::new(Lies(|terms| (terms.ttl() * 9 / 10, terms.ttd())))
}

pub(super) fn never_delists() -> Arc<dyn Defect> {
    Arc::new(Lies(|terms| (terms.ttl(), LeaseTerms::MAX)))
}

pub(super) fn wrong_unit() -> Arc<dyn Defect> {
    Arc::new(Lies(|terms| (terms.ttl() * 1000, terms.ttd() * 1000)))
}

/// Says that it renewed, and does not.
#[derive(Debug)]
struct RenewOkButGone;

#[async_trait]
impl Defect for RenewOkButGone {
    async fn heartbeat(&self, _: &Arc<dyn Registry>, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        Ok(vec![BeatOutcome::Renewed; beats.len()])
    }
}

pub(super) fn renew_ok_but_gone() -> Arc<dyn Defect> {
    Arc::new(RenewOkButGone)
}

/// What a beat brings back although it must not.
#[derive(Debug)]
enum Undead {
    /// Who expired, and the holder is told that all is well.
    Expired,
    /// Who left, behind the holder's back.
    Left,
}

#[derive(Debug)]
struct Resurrects {
    what: Undead,
    known: Known,
    left: Mutex<Vec<InstanceId>>,
}

#[async_trait]
impl Defect for Resurrects {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        self.known.note(instances);
        inner.connect(instances).await
    }

    async fn disconnect(&self, inner: &Arc<dyn Registry>, left: &[InstanceRef]) -> Result<()> {
        let ids = left.iter().map(|reference| reference.id.clone());
        self.left.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
        inner.disconnect(left).await
    }

    async fn heartbeat(
        &self,
        inner: &Arc<dyn Registry>,
        beats: &[Beat],
    ) -> Result<Vec<BeatOutcome>> {
        let mut outcomes = inner.heartbeat(beats).await?;
        for (beat, outcome) in beats.iter().zip(&mut outcomes) {
            let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).contains(&beat.id);
            let (Some(spec), BeatOutcome::Unknown) = (self.known.get(&beat.id), *outcome) else {
                continue;
            };
            match self.what {
                Undead::Expired if !left => {
                    inner.connect(&[spec]).await?;
                    *outcome = BeatOutcome::Renewed;
                }
                Undead::Left if left => drop(inner.connect(&[spec]).await?),
                Undead::Expired | Undead::Left => {}
            }
        }
        Ok(outcomes)
    }
}

fn resurrects(what: Undead) -> Arc<dyn Defect> {
    Arc::new(Resurrects { what, known: Known::default(), left: Mutex::default() })
}

pub(super) fn zombie() -> Arc<dyn Defect> {
    resurrects(Undead::Expired)
}

pub(super) fn undone_by_late_beat() -> Arc<dyn Defect> {
    resurrects(Undead::Left)
}

/// Counts beats as writes.
#[derive(Debug, Default)]
struct BeatBumpsRevision(AtomicU64);

#[async_trait]
impl Defect for BeatBumpsRevision {
    async fn heartbeat(
        &self,
        inner: &Arc<dyn Registry>,
        beats: &[Beat],
    ) -> Result<Vec<BeatOutcome>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        inner.heartbeat(beats).await
    }

    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        let mut view = inner.resolve(query).await?;
        view.revision.number += self.0.load(Ordering::Relaxed);
        Ok(view)
    }
}

pub(super) fn beat_bumps_revision() -> Arc<dyn Defect> {
    Arc::new(BeatBumpsRevision::default())
}

/// Takes a beat for a declaration of readiness.
#[derive(Debug, Default)]
struct BeatUndoesDrain(Known);

#[async_trait]
impl Defect for BeatUndoesDrain {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        self.0.note(instances);
        inner.connect(instances).await
    }

    async fn heartbeat(
        &self,
        inner: &Arc<dyn Registry>,
        beats: &[Beat],
    ) -> Result<Vec<BeatOutcome>> {
        let draining = beats.iter().filter_map(|beat| self.0.get(&beat.id));
        let ready: Vec<_> = draining
            .filter(|spec| spec.phase == Phase::Draining)
            .map(|spec| spec.with_phase(Phase::Ready))
            .collect();
        inner.connect(&ready).await?;
        inner.heartbeat(beats).await
    }
}

pub(super) fn beat_undoes_drain() -> Arc<dyn Defect> {
    Arc::new(BeatUndoesDrain::default())
}

/// Judges by a clock that somebody may set.
#[derive(Debug)]
struct WallClock {
    clock: ManualClock,
    beaten: Mutex<HashMap<InstanceId, i64>>,
}

impl WallClock {
    fn note<'a>(&self, ids: impl Iterator<Item = &'a InstanceId>) {
        let now = self.clock.wall_seconds();
        let mut beaten = self.beaten.lock().unwrap_or_else(PoisonError::into_inner);
        beaten.extend(ids.map(|id| (id.clone(), now)));
    }
}

#[async_trait]
impl Defect for WallClock {
    async fn connect(
        &self,
        inner: &Arc<dyn Registry>,
        instances: &[InstanceSpec],
    ) -> Result<Vec<Result<Lease>>> {
        self.note(instances.iter().map(|spec| &spec.id));
        inner.connect(instances).await
    }

    async fn heartbeat(
        &self,
        inner: &Arc<dyn Registry>,
        beats: &[Beat],
    ) -> Result<Vec<BeatOutcome>> {
        self.note(beats.iter().map(|beat| &beat.id));
        inner.heartbeat(beats).await
    }

    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        let mut view = inner.resolve(query).await?;
        let now = self.clock.wall_seconds();
        let beaten = self.beaten.lock().unwrap_or_else(PoisonError::into_inner);
        view.instances.retain(|i| {
            let age = beaten.get(&i.id).map_or(0, |beaten| now - beaten);
            age <= i.terms.ttd().as_secs() as i64
        });
        Ok(view)
    }
}

pub(super) fn wall_clock(clock: &ManualClock) -> Arc<dyn Defect> {
    Arc::new(WallClock { clock: clock.clone(), beaten: Mutex::default() })
}
