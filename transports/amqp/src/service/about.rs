//! What an instance knows of itself, and the endpoints that tell it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::endpoint::{Asked, Endpoint};
use super::report::{
    EndpointStats, Health, HealthCheck, Nothing, Runtime, Rusage, Sla, Stat, Stats,
};
use super::sample::{Figures, Sample};
use super::wall::{self, Stopwatch};
use super::{Check, Place};
use crate::discovery::model;
use crate::error::PlatformError;

/// What every service can be asked besides what it is made for.
pub(super) const BUILT_IN: [&str; 2] = [HEALTH, STATS];
const HEALTH: &str = "health";
const STATS: &str = "stats";
const MEAN: Duration = Duration::from_millis(100);
const UPPER95: Duration = Duration::from_millis(200);

/// An instance.
pub(super) struct About {
    pub(super) service: model::Service,
    pub(super) place: Place,
    pub(super) instance: String,
    pub(super) checks: Vec<(String, Arc<Check>)>,
    began: Stopwatch,
    /// Of every endpoint that the service is made of; what is built in is not measured.
    ended: HashMap<String, Ended>,
}

/// How the calls of an endpoint ended.
struct Ended {
    sla: Sla,
    samples: Mutex<Samples>,
}

#[derive(Default)]
struct Samples {
    success: Sample,
    error: Sample,
}

impl About {
    pub(super) fn new(
        service: model::Service,
        place: Place,
        instance: String,
        checks: Vec<(String, Arc<Check>)>,
        endpoints: &[Endpoint],
    ) -> Arc<Self> {
        let ended = |endpoint: &Endpoint| {
            let ms = |time: Duration| time.as_secs_f32() * 1_000.0;
            let sla = Sla { mean: ms(endpoint.mean), upper95: ms(endpoint.upper95) };
            (endpoint.name.clone(), Ended { sla, samples: Mutex::default() })
        };
        let ended = endpoints.iter().map(ended).collect();
        Arc::new(Self { service, place, instance, checks, began: Stopwatch::start(), ended })
    }

    /// Counts a call that took so long.
    pub(super) fn count(&self, endpoint: &str, failed: bool, took: Duration) {
        let Some(ended) = self.ended.get(endpoint) else { return };
        let mut samples = ended.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = if failed { &mut samples.error } else { &mut samples.success };
        sample.add(took, self.began.elapsed());
    }

    /// The endpoints that tell of it.
    pub(super) fn endpoints(self: &Arc<Self>) -> [Endpoint; 2] {
        let (health, stats) = (Arc::clone(self), Arc::clone(self));
        let health = move |_: Asked<Nothing>| {
            let told = health.health();
            async move { Ok::<_, PlatformError>(told) }
        };
        let stats = move |_: Asked<Nothing>| {
            let told = stats.stats();
            async move { Ok::<_, PlatformError>(told) }
        };
        [Endpoint::new(HEALTH, health), Endpoint::new(STATS, stats)]
            .map(|endpoint| endpoint.with_sla(MEAN, UPPER95))
    }

    fn health(&self) -> Health {
        let checked = |(id, check): &(String, Arc<Check>)| {
            let found = check();
            HealthCheck {
                timestamp: wall::seconds(),
                service_name: self.service.name.clone(),
                service_version: self.service.version,
                hostname: self.place.hostname.clone(),
                instance_id: self.instance.clone(),
                health_check_id: id.clone(),
                is_healthy: found.is_ok(),
                error_description: found.err(),
            }
        };
        Health { healthchecks: self.checks.iter().map(checked).collect() }
    }

    fn stats(&self) -> Stats {
        let uptime = self.began.elapsed();
        let told = |(name, ended): (&String, &Ended)| {
            let mut samples = ended.samples.lock().unwrap_or_else(PoisonError::into_inner);
            let Samples { success, error } = &mut *samples;
            let (success, error) = (stat(success.figures(uptime)), stat(error.figures(uptime)));
            EndpointStats { endpoint_name: name.clone(), sla: ended.sla, success, error }
        };
        let mut endpoints: Vec<_> = self.ended.iter().map(told).collect();
        endpoints.sort_by(|one, other| one.endpoint_name.cmp(&other.endpoint_name));
        Stats {
            service_name: self.service.name.clone(),
            service_version: self.service.version,
            hostname: self.place.hostname.clone(),
            instance_id: self.instance.clone(),
            status: "RUNNING".to_owned(),
            timestamp: wall::seconds(),
            uptime: i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX),
            rusage: Rusage::of_this_process(),
            runtime: Runtime::default(),
            endpoints,
            service_type: Some("h2.platform".to_owned()),
            az_name: Some(self.place.az_name.clone()),
        }
    }
}

fn stat(figures: Figures) -> Stat {
    let [rate1, rate5, rate15] = figures.rates.map(|rate| rate as f32);
    Stat {
        rate1,
        rate5,
        rate15,
        mean: figures.mean as f32,
        std_dev: figures.deviation as f32,
        upper95: figures.upper95 as f32,
    }
}
