//! What the gateway counts. One registry of metrics per gateway, none global.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The counters of a gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    calls: Family<Called, Counter>,
    beats: Family<Called, Counter>,
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
        Self { registry, requests, calls, beats }
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
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
