//! What the gateway counts. One registry of metrics per gateway, none global.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portolan::Counters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::admin::Stability;

/// The counters of a gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    calls: Family<Called, Counter>,
    beats: Family<Called, Counter>,
    channels: Arc<Counters>,
    age: Gauge<f64, AtomicU64>,
    held: Gauge,
    followed: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("portolan");
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and status", requests.clone());
        let calls = Family::default();
        registry.register("calls", "Calls to instances by outcome", calls.clone());
        let beats = Family::default();
        registry.register("heartbeats", "Heartbeats over HTTP by outcome", beats.clone());
        let age = Gauge::<f64, AtomicU64>::default();
        let about = "How long ago the registry confirmed the stalest of what is followed";
        registry.register_with_unit("view_age", about, Unit::Seconds, age.clone());
        let held = Gauge::<i64>::default();
        let about = "Instances that are called although the registry says they are gone";
        registry.register("held_instances", about, held.clone());
        let followed = Gauge::<i64>::default();
        registry.register("followed_services", "Services that are followed", followed.clone());
        let channels = Arc::new(Counters::default());
        registry.register_collector(Box::new(Channels(Arc::clone(&channels))));
        Self { registry, requests, calls, beats, age, held, followed, channels }
    }

    /// Where channels count.
    pub(crate) fn channels(&self) -> &Arc<Counters> {
        &self.channels
    }

    pub(crate) fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&Request { route, status }).inc();
    }

    pub(crate) fn call(&self, outcome: &'static str) {
        self.calls.get_or_create(&Called { outcome }).inc();
    }

    pub(crate) fn beat(&self, outcome: &'static str) {
        self.beats.get_or_create(&Called { outcome }).inc();
    }

    /// The OpenMetrics text.
    pub(crate) fn text(&self, stability: &Stability) -> String {
        self.age.set(stability.age.as_secs_f64());
        self.held.set(stability.held as i64);
        self.followed.set(stability.followed as i64);
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// What channels count, read when somebody asks.
#[derive(Debug)]
struct Channels(Arc<Counters>);

impl Collector for Channels {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &*self.0;
        for (name, about, count) in [
            ("call_attempts", "Attempts made for calls", &counts.attempts),
            ("call_retries", "Attempts because another one failed", &counts.retries),
            ("call_hedges", "Attempts because another one was slow", &counts.hedges),
            ("calls_shed", "Calls refused because too many were waiting", &counts.shed),
            ("calls_broken", "Calls refused by a breaker", &counts.broken),
            ("ejections", "Instances left alone because they kept failing", &counts.ejections),
        ] {
            let counter = ConstCounter::new(count.get());
            let encoder = encoder.encode_descriptor(name, about, None, counter.metric_type())?;
            counter.encode(encoder)?;
        }
        Ok(())
    }
}
